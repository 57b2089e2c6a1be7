"""A scene with the thresholds by which its classes are given."""

from __future__ import annotations

from dataclasses import replace

from segment_tiles.pipeline.grid.decision import decision_of
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.scenes.scene import Scene


def decided_scene(config: RunConfig, scene: Scene) -> Scene:
    """Return a scene with thresholds: those that are asked for, and those that classes which may overlap have anyway.

    Raises
    ------
    UsageError
        If the model has not such a class, or cannot have such a threshold.
    """
    manifest = scene.manifest
    decision = decision_of(
        config.thresholds,
        config.unsure,
        manifest.classes,
        f"model {manifest.name}",
        multi_label=manifest.output.multi_label,
    )
    return scene if decision is None else replace(scene, decision=decision)
