"""The Probe: what one way to compute a model takes on this machine, kept in the user's cache folder."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.durable import make_folder, write_whole
from segment_tiles.pipeline.installed import cache_folder, installed_version
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.workflows.plans.compute.compute_choice import ComputeOptions
from segment_tiles.workflows.scenes.scene import Scene


@dataclass(frozen=True, slots=True)
class Probe:
    """What was measured of one model on one machine."""

    device: str
    """cpu or cuda:N."""
    device_name: str
    """cpu, or the name of the GPU."""
    precision: str
    """fp32, bf16, fp16 or int8."""
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
    chosen: str = ""
    """Where backend and precision come from, such as ``chosen on 2026-11-29``."""
    calibrations: tuple[str, ...] = ()
    """Of int8: checksums of the calibrated networks, in the order of the models."""
    calibrating_bytes: int = 0
    """What calibrating for int8 takes beside the program, if the run does it first; before it an estimate."""


def kept_probe(path: Path) -> Probe | None:
    """Return what was measured of one way to compute on this machine, or None."""
    try:
        fields = json.loads(path.read_text())
        return Probe(**{**fields, "trials": (), "calibrations": (), "calibrating_bytes": 0})
    except (OSError, ValueError, TypeError, KeyError):
        # a record of another version of this program is no record: the probe runs again
        return None


def remember(path: Path, probe: Probe) -> None:
    """Keep what was measured, where the cache folder can be written."""
    try:
        make_folder(path.parent)
        write_whole(path, json_text({**asdict(probe), "trials": []}, indent=None))
    except OSError:
        # a home that cannot be written costs a second of `plan`, never a run
        return


def probe_file(scene: Scene, options: ComputeOptions, pair: tuple[str, str], batch: int, label: str) -> Path:
    """Return where what one way to compute takes is kept; threads decide it, too."""
    # other scalings take more memory than a fixed z-score; whatever their numbers, the same
    scalings = [
        str(manifest.scaling_used.declared(len(manifest.bands)))
        for _, manifest in scene.members
        if not manifest.scaling_used.is_fixed_z_score
    ]
    key = json_text(
        [[manifest.network_checksum for _, manifest in scene.members], *scalings, scene.lattice.tile, scene.spec.bands,
         scene.spec.dtype, options.device, options.augmentation, pair, batch, label, platform.node(), _processors(),
         installed_version("segment-tiles"), *(["coarse"] if scene.result.coarser > 1 else [])],
        indent=None,
    )  # fmt: skip
    return cache_folder() / "probes" / f"{sha256(key.encode()).hexdigest()[:24]}.json"


def _processors() -> list[int | str | None]:
    """Return what decides how many threads torch has, and so how many batches run at once, without its slow import."""
    given = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]
    return [
        os.cpu_count(),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        *given,
    ]
