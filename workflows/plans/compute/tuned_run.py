"""When a run takes what `tune` kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.plans.compute.kept_choice import Choice, choice_file, label_of
from segment_tiles.workflows.plans.record import RunRecord
from segment_tiles.workflows.scenes.registry import kind_named
from segment_tiles.workflows.scenes.scene import Scene


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
    choice = choice_file([scene.manifest.network_checksum], label_of(config.device)).read() or Choice()
    if choice.tuning is None or choice.pair is None:
        return config
    tile = choice.tuning.tile_for(scene.spec.height, scene.spec.width)
    backend, precision = choice.pair
    return replace(
        config,
        backend=backend,
        precision=precision,
        batch=choice.tuning.batch,
        tile=tile,
        overlap=choice.tuning.overlap / tile,
        tuned=True,
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
