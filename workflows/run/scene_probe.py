"""The Probe of a run: measured on a tile of its own scene, where its Regions will be done."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from segment_tiles.pipeline.errors import ReadFailedError, one_line
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import RunPaths
from segment_tiles.workflows.plans.model_probe import Probe, choice_of, measure, sample_tile
from segment_tiles.workflows.plans.record import RunRecord
from segment_tiles.workflows.scenes.scene import Scene


def probe_scene(
    config: RunConfig, scene: Scene, paths: RunPaths, record: RunRecord | None
) -> tuple[Probe, list[str]]:
    """Measure on a tile of the middle plane; a resumed run keeps the precision and the batch that it had.

    It runs where Regions are done, and returns what the user should know of it beside the Probe.

    Raises
    ------
    SegmentTilesError
        If the source or the model cannot be opened there.
    """
    members = zip(config.companions, scene.companions, strict=True)
    companions = tuple((find_model(name), manifest) for name, (_, manifest) in members)
    scene = replace(scene, model_folder=find_model(paths.model), companions=companions)
    warnings: list[str] = []
    choice = choice_of(config, None if record is None else record.choices)
    with closing(scene.result.opener.open()) as planes:
        try:
            (source,) = planes.sources((scene.result.planes // 2,))
            sample = sample_tile(scene, source)
        except ReadFailedError as error:
            warnings.append(f"the probe used noise, because the middle cannot be read: {one_line(error)}")
            sample = None
    return measure(scene, choice, sample), warnings
