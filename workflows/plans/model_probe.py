"""The probe: device, precision, batch, seconds and bytes of a model on this machine, measured once.

What it measures is kept in the user's cache folder under the checksum of the weights, so that
``plan`` can answer without loading the network again. A run measures for itself, on real tiles.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segment_tiles.pipeline.durable import make_folder, write_whole
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.bands import BandReader
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.plans.compute_choice import ComputeChoice, Trial, choose_pair
from segment_tiles.workflows.process_memory import peak_since_reset, reset_peak, resident_bytes
from segment_tiles.workflows.scenes.scene import Scene

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from segment_tiles.pipeline.models.ensemble import Ensemble
    from segment_tiles.pipeline.models.segmenter import Segmenter
    from segment_tiles.workflows.regions.loaded_model import LoadedPackage, ModelRequest

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
    """Per backend and precision that was tried: agreement with float32, largest difference, seconds."""
    backend: str = "torch"
    """torch, compile, openvino or onnx."""


def choice_of(config: RunConfig, recorded: Mapping[str, Any] | None = None) -> ComputeChoice:
    """Return how a run computes; one that goes on keeps what its record says was chosen."""
    if recorded is None:
        return ComputeChoice(
            config.device, config.precision, config.batch, config.trust, config.backend, config.augmentation
        )
    return ComputeChoice(
        config.device,
        recorded["precision"],
        recorded["batch"],
        config.trust,
        recorded.get("backend", "torch"),
        config.augmentation,
    )


def measure(
    scene: Scene,
    choice: ComputeChoice,
    sample: tuple[Tensor, Tensor | None] | None,
    *,
    may_convert: bool = True,
) -> Probe:
    """Load the model, choose what is still open, run one batch, and remember what it took.

    Parameters
    ----------
    scene
        Source and model.
    choice
        The user's options.
    sample
        One real tile (1, bands, T, T) and its valid mask; None measures on noise.
    may_convert
        Whether ``--backend auto`` may convert the model for a backend that pays; else it takes what is there.

    Raises
    ------
    UsageError
        If the device is not there or an option is unknown.
    """
    from segment_tiles.pipeline.models.devices import device_label, resolve_device  # noqa: PLC0415
    from segment_tiles.workflows.regions.loaded_model import ModelRequest, scorer_of  # noqa: PLC0415

    device = resolve_device(choice.device)
    packages = _packages(scene, choice)
    request = ModelRequest(
        (), str(device), batch=choice.batch or 1, tile=scene.lattice.tile, augmentation=choice.augmentation
    )

    def make(backend: str, precision: str) -> Segmenter | Ensemble:
        return scorer_of(packages, device, replace(request, backend=backend, precision=precision))

    values, valid = sample if sample is not None else (_noise(scene.spec, scene.lattice.tile), None)
    if choice.batch is None and device.type == "cuda":
        # float32 takes the most memory: what fits in it fits in all
        start = make("torch", "fp32" if choice.precision == "auto" else choice.precision)
        larger = _larger_batch(start, _measured(start, 1, values, valid), values, valid)
        request = replace(request, batch=larger.batch)
    values = values.repeat(request.batch, 1, 1, 1)
    valid = None if valid is None else valid.repeat(request.batch, 1, 1)
    trial = Trial(
        make, values, valid, device, tuple(p.manifest for p in packages), scene.tile_count,
        lambda backend, precision: _is_converted(packages, device, backend, precision, request), may_convert,
    )  # fmt: skip
    pair = choose_pair(choice, trial)
    scorer = make(pair.backend, pair.precision)
    packages.clear()  # the networks as they were loaded are not part of what a run holds
    probe = _measured(scorer, request.batch, values[:1], valid if valid is None else valid[:1])
    probe = replace(probe, device=str(device), device_name=device_label(device), trials=pair.trials)
    _remember(scene, choice, probe)
    return probe


def _packages(scene: Scene, choice: ComputeChoice) -> list[LoadedPackage]:
    from segment_tiles.pipeline.models.inference_network import load_rewritten  # noqa: PLC0415
    from segment_tiles.workflows.regions.loaded_model import LoadedPackage  # noqa: PLC0415

    return [
        LoadedPackage(folder, manifest, load_rewritten(folder, manifest, trust=choice.trust))
        for folder, manifest in scene.members
    ]


def _is_converted(
    packages: list[LoadedPackage], device: torch.device, backend: str, precision: str, request: ModelRequest
) -> bool:
    from segment_tiles.pipeline.models.backends.known import BACKENDS  # noqa: PLC0415
    from segment_tiles.pipeline.models.backends.protocol import Preparation  # noqa: PLC0415

    def preparation(package: LoadedPackage) -> Preparation:
        manifest, side = package.manifest, request.tile or package.manifest.tile
        shape = (request.batch, len(manifest.bands), side, side)
        return Preparation(shape, device, precision, manifest.network_checksum, package.folder)

    return all(BACKENDS[backend].is_prepared(preparation(package)) for package in packages)


def remembered(scene: Scene, choice: ComputeChoice) -> Probe | None:
    """Return what an earlier probe of this model with these options measured on this machine, or None."""
    path = _cache_file(scene, choice)
    try:
        fields = json.loads(path.read_text())
        return Probe(**{**fields, "trials": tuple(fields["trials"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        # a record of another version of this program is no record: the probe runs again
        return None


def _measured(segmenter: Segmenter | Ensemble, batch: int, values: Tensor, valid: Tensor | None) -> Probe:
    from segment_tiles.pipeline.models.precision import timed_scores  # noqa: PLC0415

    before = resident_bytes()
    reset_peak()
    tiles = values.repeat(batch, 1, 1, 1)
    masks = None if valid is None else valid.repeat(batch, 1, 1)
    _, seconds = timed_scores(segmenter, tiles, masks)
    peak = peak_since_reset()
    added = max(0, peak - before)
    return Probe(
        "", "", segmenter.precision, batch, seconds / batch, before, added, backend=segmenter.backend
    )


def _larger_batch(
    segmenter: Segmenter | Ensemble, probe: Probe, values: Tensor, valid: Tensor | None
) -> Probe:
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
    try:
        make_folder(path.parent)
        write_whole(path, json_text(asdict(probe), indent=None))
    except OSError:
        # a home that cannot be written costs a second of `plan`, never a run
        return


def cache_folder() -> Path:
    """Return the folder of this program in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segment-tiles"


def _cache_file(scene: Scene, choice: ComputeChoice) -> Path:
    root = cache_folder()
    # long runs weigh backends that short ones do not
    magnitude = math.ceil(math.log2(max(1, scene.tile_count)))
    key = json_text(
        [[manifest.network_checksum for _, manifest in scene.members], scene.lattice.tile, magnitude, scene.spec.bands,
         scene.spec.dtype, asdict(choice), platform.node(), _processors(), version("segment-tiles")],
        indent=None,
    )  # fmt: skip
    return root / "probes" / f"{sha256(key.encode()).hexdigest()[:24]}.json"


def _processors() -> list[int | str | None]:
    """Return what decides how many threads torch has, and so how many batches run at once, without its slow import."""
    given = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]
    return [
        os.cpu_count(),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        *given,
    ]


def sample_tile(scene: Scene, source: Source) -> tuple[Tensor, Tensor | None] | None:
    """Return a real tile with data from the middle of the scene, or None if none is found.

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
