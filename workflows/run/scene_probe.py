"""The Probe of a run: where its Regions will be done; what has to be measured, on tiles of its own scene."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from segment_tiles.pipeline.errors import ReadFailedError, one_line
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import RunPaths
from segment_tiles.workflows.plans.compute.kept_choice import Choice
from segment_tiles.workflows.plans.compute.kept_probe import Probe
from segment_tiles.workflows.plans.compute.model_probe import Measured, compute_options, measure
from segment_tiles.workflows.plans.compute.sample_tiles import Positions, sample_tiles
from segment_tiles.workflows.plans.record import RunRecord
from segment_tiles.workflows.regions.loaded_model import ModelRequest
from segment_tiles.workflows.scenes.scene import Scene

if TYPE_CHECKING:
    from segment_tiles.pipeline.models.precision import Sample


def probe_scene(
    config: RunConfig, scene: Scene, paths: RunPaths, record: RunRecord | None, known: Choice | None
) -> Measured:
    """Return how this run computes; one that is taken up keeps the precision and the batch that it had.

    It runs where Regions are done. Tiles of the middle plane are read only if something has to be measured.

    Raises
    ------
    SegmentTilesError
        If the source or the model cannot be opened there.
    """
    members = zip(config.companions, scene.companions, strict=True)
    companions = tuple((find_model(name), manifest) for name, (_, manifest) in members)
    scene = replace(scene, model_folder=find_model(paths.model), companions=companions)
    unread: list[str] = []

    def sample(positions: Positions) -> Sample | None:
        assert paths.opener is not None
        with closing(paths.opener.open()) as planes:
            try:
                (source,) = planes.sources((paths.plane,))
                return sample_tiles(scene, source, positions)
            except ReadFailedError as error:
                unread.append(f"the probe used noise, because the middle cannot be read: {one_line(error)}")
                return None

    recorded = None if record is None else record.choices
    found = measure(scene, compute_options(config, recorded, paths.own_folder), sample, known=known)
    return replace(found, notes=(*unread, *found.notes))


def model_request(config: RunConfig, scene: Scene, probe: Probe, paths: RunPaths) -> ModelRequest:
    """Return what decides how a worker computes a batch of tiles."""
    checksums = (manifest.map_checksum for _, manifest in scene.companions)
    return ModelRequest(
        ((paths.model, paths.checksum), *zip(config.companions, checksums, strict=True)),
        probe.device,
        probe.precision,
        probe.backend,
        probe.batch,
        scene.lattice.tile,
        config.augmentation,
        config.trust,
        probe.calibrations,
        scene.scalings,
        config.lies_on is not None,
        paths.own_folder,
        keeps_coarse=scene.result.coarser > 1,
    )
