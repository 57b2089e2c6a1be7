"""The Probe of a run: measured on a tile of its own scene, where its Regions will be done."""

from __future__ import annotations

from dataclasses import replace

from segment_tiles.pipeline.errors import ReadFailedError, one_line
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import RunPaths
from segment_tiles.workflows.plans.probe import Probe, choice_of, measure, sample_tile
from segment_tiles.workflows.plans.record import RunRecord
from segment_tiles.workflows.run.volume_run import volume_sample
from segment_tiles.workflows.scenes.scene import Scene, source_of


def probe_scene(
    config: RunConfig, scene: Scene, paths: RunPaths, record: RunRecord | None
) -> tuple[Probe, list[str]]:
    """Measure on a tile of the scene; a resumed run keeps the precision and the batch that it had.

    It runs where Regions are done, and returns what the user should know of it beside the Probe.

    Raises
    ------
    SegmentTilesError
        Where the source or the model cannot be opened there.
    """
    members = zip(config.companions, scene.companions, strict=True)
    companions = tuple((find_model(name), manifest) for name, (_, manifest) in members)
    scene = replace(scene, uri=paths.uri, model_folder=find_model(paths.model), companions=companions)
    warnings: list[str] = []
    choice = choice_of(config, None if record is None else record.choices)
    if scene.volume is not None:
        return measure(scene, choice, volume_sample(scene, scene.volume)), warnings
    source = source_of(scene, config)
    try:
        sample = sample_tile(scene, source)
    except ReadFailedError as error:
        warnings.append(f"the probe used noise, because the middle cannot be read: {one_line(error)}")
        sample = None
    finally:
        source.close()
    return measure(scene, choice, sample), warnings
