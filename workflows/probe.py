"""The probe: device, precision, batch, seconds and bytes of a model on this machine, measured once.

What it measures is kept in the user's cache folder under the checksum of the weights, so that
``plan`` can answer without loading the network again. A run measures for itself, on real tiles.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.bands import BandReader
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.workflows.process_memory import peak_resident_bytes, reset_peak, resident_bytes
from segment_tiles.workflows.scene import Scene

if TYPE_CHECKING:
    from torch import Tensor

    from segment_tiles.pipeline.models.segmenter import Segmenter

MIDDLE_FIRST = (2, 1, 3)
"""Quarters of the scene, along each side, at which the probe looks for a tile with data."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was measured of one model on one machine."""

    device: str
    """cpu or cuda:N."""
    device_name: str
    """cpu, or the name of the GPU."""
    precision: str
    """fp32, bf16 or fp16."""
    batch: int
    """Tiles of a forward pass."""
    seconds_per_tile: float
    """Of the forward pass."""
    program_bytes: int
    """Resident memory with libraries and weights, before the first pass."""
    batch_bytes: int
    """What the passes added at their peak."""
    trials: tuple[dict[str, Any], ...] = ()
    """Per precision that was tried: agreement with float32, largest difference, seconds."""


@dataclass(frozen=True, slots=True)
class ComputeChoice:
    """What the user said of how to compute; auto and None leave it to the probe."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: str = "auto"
    """auto, fp32, bf16 or fp16."""
    batch: int | None = None
    """Tiles of a forward pass."""
    trust: bool = False
    """Whether a graph that may execute code is loaded."""


def measure(scene: Scene, choice: ComputeChoice, sample: tuple[Tensor, Tensor | None] | None) -> Probe:
    """Load the model, choose what is still open, run one batch, and remember what it took.

    Parameters
    ----------
    scene
        Source and model.
    choice
        The user's words.
    sample
        One real tile (1, bands, T, T) and its valid mask; None measures on noise.

    Raises
    ------
    UsageError
        Where the device is not there or a word is unknown.
    """
    from segment_tiles.pipeline.models.devices import device_label, resolve_device  # noqa: PLC0415
    from segment_tiles.pipeline.models.package import load_network  # noqa: PLC0415
    from segment_tiles.pipeline.models.precision import choose_precision, parse_precision  # noqa: PLC0415
    from segment_tiles.pipeline.models.segmenter import Segmenter  # noqa: PLC0415

    device = resolve_device(choice.device)
    network = load_network(scene.model_folder, scene.manifest, trust=choice.trust)
    make = partial(Segmenter, network, scene.manifest, device)
    values, valid = sample if sample is not None else (_noise(scene.spec, scene.lattice.tile), None)
    precision = parse_precision(choice.precision)
    trials: tuple[dict[str, Any], ...] = ()
    if precision == "auto":
        chosen = choose_precision(make, values, valid, device)
        precision, trials = chosen.precision, tuple(asdict(trial) for trial in chosen.trials)
    segmenter = make(precision)
    del network
    probe = _measured(segmenter, choice.batch or 1, values, valid)
    if choice.batch is None and device.type == "cuda":
        probe = _larger_batch(segmenter, probe, values, valid)
    probe = replace(probe, device=str(device), device_name=device_label(device), trials=trials)
    _remember(scene, choice, probe)
    return probe


def remembered(scene: Scene, choice: ComputeChoice) -> Probe | None:
    """Return what an earlier probe of this model with these words measured on this machine, or None."""
    path = _cache_file(scene, choice)
    try:
        fields = json.loads(path.read_text())
        return Probe(**{**fields, "trials": tuple(fields["trials"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        # a record of another version of this program is no record: the probe runs again
        return None


def _measured(segmenter: Segmenter, batch: int, values: Tensor, valid: Tensor | None) -> Probe:
    from segment_tiles.pipeline.models.precision import timed_scores  # noqa: PLC0415

    before = resident_bytes()
    reset_peak()
    tiles = values.repeat(batch, 1, 1, 1)
    masks = None if valid is None else valid.repeat(batch, 1, 1)
    _, seconds = timed_scores(segmenter, tiles, masks)
    peak = peak_resident_bytes()
    return Probe("", "", segmenter.precision, batch, seconds / batch, before, max(0, peak - before))


def _larger_batch(segmenter: Segmenter, probe: Probe, values: Tensor, valid: Tensor | None) -> Probe:
    """Double the batch while that gains at least a twentieth and the GPU has the memory."""
    import torch  # noqa: PLC0415

    while probe.batch < 64:
        try:
            larger = _measured(segmenter, probe.batch * 2, values, valid)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        if larger.seconds_per_tile > 0.95 * probe.seconds_per_tile:
            break
        probe = larger
    return probe


def _noise(spec: RasterSpec, tile: int) -> Tensor:
    """Return a tile of random values of the raster's type, the same every time."""
    import torch  # noqa: PLC0415

    generator = np.random.default_rng(0)
    shape = (1, spec.bands, tile, tile)
    if np.dtype(spec.dtype).kind == "f":
        return torch.from_numpy(generator.random(shape).astype(spec.dtype))
    return torch.from_numpy(generator.integers(0, 127, shape).astype(spec.dtype))


def _remember(scene: Scene, choice: ComputeChoice, probe: Probe) -> None:
    path = _cache_file(scene, choice)
    partial_path = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_path.write_text(json.dumps(asdict(probe)))
        partial_path.replace(path)
    except OSError:
        # a home that cannot be written costs a second of `plan`, never a run
        return


def _cache_file(scene: Scene, choice: ComputeChoice) -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = json.dumps(
        [scene.manifest.weights_checksum, scene.lattice.tile, scene.spec.bands, scene.spec.dtype,
         asdict(choice), platform.node(), os.cpu_count()]
    )  # fmt: skip
    return root / "segment-tiles" / "probes" / f"{sha256(key.encode()).hexdigest()[:24]}.json"


def sample_tile(scene: Scene, source: Source) -> tuple[Tensor, Tensor | None] | None:
    """Return a real tile with data from the middle of the scene, or None where none is found.

    The tile is (1, bands, T, T), its mask of valid pixels (1, T, T) or None.
    """
    import torch  # noqa: PLC0415

    rows, columns = scene.lattice.rows, scene.lattice.columns
    for quarter_down in MIDDLE_FIRST:
        for quarter_across in MIDDLE_FIRST:
            row_index = rows.count * quarter_down // 4
            column_index = columns.count * quarter_across // 4
            corner = Window(rows.start(row_index), columns.start(column_index), 1, 1)
            reader = BandReader(source, scene.lattice, corner)
            band = reader.read(row_index)
            left = columns.start(column_index) - reader.left
            span = slice(left, left + scene.lattice.tile)
            if band.values is None or (band.valid is not None and band.valid[:, span].mean() < 0.5):
                continue
            mask = None if band.valid is None else torch.from_numpy(band.valid[:, span].copy())[None]
            return torch.from_numpy(band.values[:, :, span].copy())[None], mask
    return None


def check_choice(choice: ComputeChoice) -> None:
    """Refuse words that no machine knows, before anything is loaded.

    Raises
    ------
    UsageError
        Where precision or device is misspelt.
    """
    if choice.precision not in {"auto", "fp32", "bf16", "fp16"}:
        msg = f"--precision is {choice.precision!r}; it must be one of auto, fp32, bf16, fp16"
        raise UsageError(msg)
    kind, _, index = choice.device.partition(":")
    if kind not in {"auto", "cpu", "cuda"} or (index and not index.isdigit()):
        msg = f"--device is {choice.device!r}; it must be auto, cpu, cuda or cuda:N"
        raise UsageError(msg)
