"""The Plan of a run from its configuration, without loading what only a run needs."""

from __future__ import annotations

from dataclasses import replace

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.blend import parse_blend
from segment_tiles.workflows.compute_choice import check_choice
from segment_tiles.workflows.computed_area import computed_area
from segment_tiles.workflows.config import RunConfig, check_where
from segment_tiles.workflows.fingerprint import RunRecord
from segment_tiles.workflows.image_formats import check_image_formats
from segment_tiles.workflows.plan import Plan, make_plan
from segment_tiles.workflows.probe import choice_of, measure, remembered
from segment_tiles.workflows.scene import Scene, open_scene
from segment_tiles.workflows.tuning import lost_tuning, with_tuning


def plan_run(config: RunConfig) -> Plan:
    """Return what ``segment`` would do; nothing is computed but, once per model and machine, a probe.

    Raises
    ------
    SegmentTilesError
        Wherever ``segment`` would refuse to start.
    """
    config, scene = tuned_scene(config, None)
    choice = choice_of(config)
    probe = remembered(scene, choice) or measure(scene, choice, None, may_convert=False)
    area = computed_area(config.aoi, scene.tissue, scene.spec)
    return make_plan(config, scene, probe, area, workers=config.workers or 1)


def tuned_scene(config: RunConfig, record: RunRecord | None) -> tuple[RunConfig, Scene]:
    """Return the checked scene, and the configuration with what `tune` kept where the user left it open.

    Raises
    ------
    SegmentTilesError
        As `checked_scene`.
    """
    scene = checked_scene(config)
    tuned = with_tuning(config, scene, record)
    if tuned.tuned:
        return tuned, checked_scene(tuned)
    lost = lost_tuning(config, scene, record)
    return config, scene if lost is None else replace(scene, warnings=(*scene.warnings, lost))


def checked_scene(config: RunConfig) -> Scene:
    """Return source and model of a configuration whose words have all been checked.

    Raises
    ------
    SegmentTilesError
        Naming the word or the input that cannot be accepted.
    """
    parse_blend(config.blend)
    check_where(config)
    check_choice(choice_of(config))
    scene = open_scene(config)
    if config.aoi is not None and not config.aoi.exists():
        msg = f"--aoi {config.aoi}: no such file; give a vector file with polygons"
        raise UsageError(msg)
    computed_area(config.aoi, scene.tissue, scene.spec)
    check_image_formats(config, scene)
    return scene
