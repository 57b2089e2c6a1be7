"""What `tune` measured of a model on this machine, kept in the user's cache folder, and when a run takes it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.durable import make_folder, write_whole
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.plans.model_probe import cache_folder
from segment_tiles.workflows.plans.record import RunRecord
from segment_tiles.workflows.scenes.registry import kind_named
from segment_tiles.workflows.scenes.scene import Scene

LIBRARIES = {"openvino": "openvino", "onnx": "onnxruntime"}
"""What a backend imports, if that is not torch."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """The fastest way to run a model on this machine."""

    backend: str
    """torch, compile, openvino or onnx."""
    precision: str
    """fp32, bf16 or fp16."""
    batch: int
    """Tiles of a forward pass."""
    overlap: int
    """In pixels, the same for all tiles."""
    seconds_per_tile: Mapping[int, float]
    """By side of a tile in pixels, in this way."""
    device: str
    """cpu or cuda:N."""

    def tile_for(self, height: int, width: int) -> int:
        """Return the side with which a raster of this size is done soonest; the smallest of equals."""

        def seconds(side: int) -> float:
            return Lattice(height, width, side, self.overlap).count * self.seconds_per_tile[side]

        return min(sorted(self.seconds_per_tile), key=seconds)


def store_tuning(checksum: str, tuning: Tuning) -> Path:
    """Keep a tuning, whole, in place of an earlier one of the same network."""
    path = tuning_file(checksum)
    make_folder(path.parent)
    write_whole(path, json_text(asdict(tuning)))
    return path


def stored_tuning(checksum: str) -> Tuning | None:
    """Return what was tuned for this network on this machine, or None."""
    try:
        fields = json.loads(tuning_file(checksum).read_text())
        seconds = {int(side): float(value) for side, value in fields["seconds_per_tile"].items()}
        return Tuning(**{**fields, "seconds_per_tile": seconds})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        # a record of another version of this program is no record: `tune` makes a new one
        return None


def with_tuning(config: RunConfig, scene: Scene, record: RunRecord | None) -> RunConfig:
    """Return a configuration that takes what was tuned, if the user named nothing of it.

    A run that goes on takes what it was begun with, whatever was tuned since.
    """
    if not _is_open(config, scene):
        return config
    if record is not None:
        if not record.choices.get("tuned"):
            return config
        named = {key: record.choices[key] for key in ("batch", "precision", "backend")}
        tile, overlap = record.settings["--tile"], record.settings["--overlap"]
        return replace(config, **named, tile=tile, overlap=overlap, tuned=True)
    tuning = stored_tuning(scene.manifest.network_checksum)
    if tuning is None or not _fits(tuning, config):
        return config
    tile = tuning.tile_for(scene.spec.height, scene.spec.width)
    return replace(
        config,
        backend=tuning.backend,
        precision=tuning.precision,
        batch=tuning.batch,
        tile=tile,
        overlap=tuning.overlap / tile,
        tuned=True,
    )


def lost_tuning(config: RunConfig, scene: Scene, record: RunRecord | None) -> str | None:
    """Return what to tell the user where a new run would be tuned, but for a library that is gone."""
    if not _is_open(config, scene) or record is not None:
        return None
    tuning = stored_tuning(scene.manifest.network_checksum)
    if tuning is None or _is_installed(tuning.backend):
        return None
    return (
        f"{scene.manifest.name} was tuned to run by {tuning.backend}, which is not installed any more; "
        f"the tuning is left out: install it, or start `segment-tiles tune {scene.manifest.name}` again"
    )


def _is_open(config: RunConfig, scene: Scene) -> bool:
    """Return whether the user left all to the program that a tuning decides, on this machine."""
    if not kind_named(scene.kind).takes_tuning:
        return False
    named: tuple[Any, ...] = (
        config.tile, config.overlap, config.batch, config.scheduler, config.cluster, *config.companions
    )  # fmt: skip
    left_open = (config.precision, config.backend)
    return (
        all(value is None for value in named)
        and left_open == ("auto", "auto")
        and config.augmentation == "none"
    )


def _fits(tuning: Tuning, config: RunConfig) -> bool:
    return config.device in {"auto", tuning.device} and _is_installed(tuning.backend)


def _is_installed(backend: str) -> bool:
    library = LIBRARIES.get(backend)
    return library is None or find_spec(library) is not None


def tuning_file(checksum: str) -> Path:
    """Return where the tuning of these weights on this machine is kept, if there is one."""
    key = json_text([checksum, platform.node(), os.cpu_count()], indent=None)
    return cache_folder() / "tunings" / f"{sha256(key.encode()).hexdigest()[:24]}.json"
