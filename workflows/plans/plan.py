"""Plan: what a run will do, computed before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from segment_tiles.pipeline.errors import PlanError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.computed_area import ComputedArea
from segment_tiles.pipeline.outputs.stores.store import shard_shape
from segment_tiles.pipeline.sources.areas.area_of_interest import Area
from segment_tiles.pipeline.wording import readable_bytes
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.plans.compute.kept_probe import Probe
from segment_tiles.workflows.plans.memory_plan import (
    MemoryPlan,
    code_bytes,
    finishing_bytes,
    memory_of_region,
)
from segment_tiles.workflows.plans.strips import columns_at_least, in_strips
from segment_tiles.workflows.process_memory import DEFAULT_MEMORY_SHARE, available_bytes
from segment_tiles.workflows.scenes.cut import Cut
from segment_tiles.workflows.scenes.registry import kind_named
from segment_tiles.workflows.scenes.scene import Scene, SceneMask

COMPRESSED_SHARE = 0.15
"""Bytes on disk per byte of codes and confidence, as seen on real class maps; an estimate."""
COPIES_OF_WEIGHTS = 3
"""That a loaded network takes: as they are stored, as a backend orders them, and buffers; an estimate from above."""
AOI_TILES_AT_MOST = 200_000
"""Tiles up to which the Plan asks the AOI about every one; above, it gives no count."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before a run starts."""

    scene: Scene
    """Source and model."""
    probe: Probe
    """Device, precision, batch, and what they take."""
    regions: tuple[Window, ...]
    """Units of work, in pixels of the result, on shard edges."""
    tiles: int
    """Tiles of all Regions; a tile on the border of two counts twice."""
    skipped: int | None
    """Tiles that the AOI leaves out; None if it was not counted."""
    memory: MemoryPlan
    """Bytes of one worker on its widest Region."""
    memory_limit: int
    """Bytes that it may take."""
    workers: int
    """Regions that are done at the same time."""
    disk_bytes: int
    """Estimate of what the results take on disk."""
    regions_of_cuts: tuple[tuple[Window, ...], ...]
    """Of every Cut: Regions on each of its planes."""
    mask: Plan | None = None
    """Of the run of another model before it, whose classes limit this one."""

    @property
    def all_tiles(self) -> int:
        """Tiles with those of the mask."""
        return self.tiles + (0 if self.mask is None else self.mask.tiles)

    @property
    def expected_seconds(self) -> float:
        """Tiles that are computed times the measured seconds of one; reading and writing hide behind."""
        at_once = min(self.workers, len(self.regions) * len(self.scene.result.slabs()))
        own = (self.tiles - (self.skipped or 0)) * self.probe.seconds_per_tile / at_once
        return own + (0.0 if self.mask is None else self.mask.expected_seconds)

    def after(self, mask: Plan) -> Plan:
        """Return the Plan of a run that has its mask computed first: memory is taken by one after the other."""
        memory = max(self.memory, mask.memory, key=lambda plan: plan.total)
        return replace(self, mask=mask, memory=memory, disk_bytes=self.disk_bytes + mask.disk_bytes)


def make_plan(
    config: RunConfig,
    scene: Scene,
    probe: Probe,
    area: Area | None,
    *,
    workers: int = 1,
    worker_memory: int | None = None,
) -> Plan:
    """Divide the result into Regions that fit the memory, enough for all workers, and count what they take.

    Parameters
    ----------
    config, scene, probe, area
        What is asked for.
    workers
        Regions that are done at the same time.
    worker_memory
        Bytes that a worker elsewhere may take at most; None for workers of this machine.

    Raises
    ------
    PlanError
        If not even the narrowest Region fits.
    """
    limit = memory_limit(config, workers, worker_memory)
    held = max(cut.held_bytes for cut in scene.cuts)
    if held and limit - probe.program_bytes - held <= 0:
        msg = (
            f"--memory allows {readable_bytes(limit)}, but reading the source takes {readable_bytes(held)} beside "
            f"the program ({readable_bytes(probe.program_bytes)}); give more"
        )
        raise PlanError(msg)
    check_calibrating(probe, limit)
    _check_finishing(config, scene, probe, limit)
    with_scores = int(config.scores or scene.is_composed or scene.has_masks) + int(scene.has_masks)
    costs = [
        _Costs(
            cut,
            scene.manifest.classes,
            code_bytes(scene.decided, scene.classes),
            probe,
            finishing_bytes(config, scene),
            with_scores,
            config.formats,
            scene.mask,
            COPIES_OF_WEIGHTS * config.weights_beside,
        )
        for cut in scene.cuts
    ]
    parts = [_CutPlan.of(each, area, limit - held, workers) for each in costs]
    memory = max((part.memory for part in parts), key=lambda m: m.total)
    return Plan(
        scene,
        probe,
        parts[0].regions,
        sum(part.tiles for part in parts),
        None if any(part.skipped is None for part in parts) else sum(part.skipped or 0 for part in parts),
        replace(memory, volume=held, calibrating=probe.calibrating_bytes),
        limit,
        workers,
        # beside the result what was copied, until the end
        sum(part.disk_bytes for part in parts) + kind_named(scene.kind).copied_bytes(scene),
        tuple(part.regions for part in parts),
    )


@dataclass(frozen=True, slots=True)
class _CutPlan:
    """What is decided of one Cut."""

    regions: tuple[Window, ...]
    tiles: int
    skipped: int | None
    memory: MemoryPlan
    disk_bytes: int

    @classmethod
    def of(cls, costs: _Costs, area: Area | None, limit: int, workers: int) -> _CutPlan:
        """Divide the planes of a Cut into Regions that fit `limit` bytes."""
        cut = costs.cut
        # if there are many planes, they are what workers share
        at_once = workers if cut.planes == 1 else 1
        columns = costs.columns(limit, columns_at_least(cut.roi, at_once))
        regions = in_strips(cut.tiles_of, cut.roi, columns, at_once)
        tiles, skipped = sum(map(cut.tiles_of, regions)), _skipped(cut, regions, area)
        # what is left out is nodata, of which nothing is stored
        computed = 1.0 if skipped is None else (tiles - skipped) / tiles
        return cls(
            regions,
            tiles * cut.planes,
            None if skipped is None else skipped * cut.planes,
            max(map(costs.memory, regions), key=lambda m: m.total),
            costs.disk_bytes(computed) * cut.planes,
        )


@dataclass(frozen=True, slots=True)
class _Costs:
    """What the planes of a Cut take."""

    cut: Cut
    table: ClassTable
    """Classes of the model, which have the scores."""
    code_bytes: int
    """Of a code in the map: a class for "not sure" may be the one too many for a byte."""
    probe: Probe
    finishing: int
    with_scores: int
    formats: Sequence[str]
    mask: SceneMask | None
    map_beside: int
    """Bytes of the model of the map, of the run of its mask."""

    def memory(self, region: Window) -> MemoryPlan:
        """Return the bytes that a Region of a plane takes, in pixels of the result."""
        grid = self.cut.thumbnail
        planned = memory_of_region(
            self.cut,
            region,
            classes=self.table.count,
            code_size=self.code_bytes,
            with_scores=self.with_scores,
            program=self.probe.program_bytes + self.beside,
            batch=self.probe.batch_bytes,
            thumbnail=0 if grid is None else grid.nbytes(self.cut.spec.dtype),
            mask_code=0 if self.mask is None else np.dtype(self.mask.scene.classes.dtype).itemsize,
        )
        return replace(planned, finishing=self.finishing)

    @property
    def beside(self) -> int:
        """Bytes of the other model, of a map and of its mask: both stay loaded."""
        return self.map_beside if self.mask is None else COPIES_OF_WEIGHTS * self.mask.scene.weights_bytes

    def disk_bytes(self, computed: float) -> int:
        """Return the bytes that a plane takes of which this share is computed."""
        layers = self.code_bytes + 1 + self.table.count * int(self.with_scores)
        # COGs repeat what the store has
        of_classes = ("scores" in self.formats) + ("masks" in self.formats)
        copies = 1 + ("confidence" in self.formats) + self.table.count * of_classes
        # overviews take a third more
        return int(self.cut.roi.area * (layers + copies) * 4 / 3 * COMPRESSED_SHARE * computed)

    def columns(self, limit: int, at_least: int) -> tuple[Window, ...]:
        """Return the full width if memory and workers allow, else the widest columns of shards that fit."""
        roi = self.cut.roi
        _, side = shard_shape(roi.width)
        shard_columns = -(-roi.width // side)
        for pieces in range(at_least, shard_columns + 1):
            step = -(-shard_columns // pieces) * side
            regions = tuple(
                Window.from_edges(0, left, roi.height, min(left + step, roi.width))
                for left in range(0, roi.width, step)
            )
            if len(regions) < at_least:
                continue  # whole shards do not divide into just as many columns
            needed = max(self.memory(region).total for region in regions)
            if needed <= limit:
                return regions
        msg = (
            f"--memory allows {readable_bytes(limit)}, but one row of {self.cut.lattice.tile} px tiles across the "
            f"narrowest Region takes {readable_bytes(needed)}; give at least that, or a smaller --tile or --batch"
        )
        raise PlanError(msg)


def memory_limit(config: RunConfig, workers: int, worker_memory: int | None) -> int:
    """Return the bytes that a worker may take: what is said, or a share of what is free on this machine."""
    limit = config.memory or worker_memory or int(available_bytes() * DEFAULT_MEMORY_SHARE / workers)
    return min(limit, worker_memory or limit)


def check_calibrating(probe: Probe, limit: int) -> None:
    """Refuse a calibration that memory cannot hold, before it begins; one that was done speaks against nothing.

    Raises
    ------
    PlanError
        If it may take more than the limit.
    """
    needed = probe.program_bytes + probe.calibrating_bytes
    is_ahead = probe.calibrating_bytes > 0 and not probe.calibrations
    if is_ahead and needed > limit:
        msg = (
            f"--memory allows {readable_bytes(limit)}, but calibrating for --precision int8 may take "
            f"{readable_bytes(needed)}; give more, another precision, or a smaller --tile"
        )
        raise PlanError(msg)


def _check_finishing(config: RunConfig, scene: Scene, probe: Probe, limit: int) -> None:
    """Refuse a DICOM SEG of a slide that memory cannot hold, before its computation."""
    finishing = finishing_bytes(config, scene)
    if "dicom-seg" in config.formats and probe.program_bytes + finishing > limit:
        msg = (
            f"--memory allows {readable_bytes(limit)}, but DICOM SEG is made in memory and takes "
            f"{readable_bytes(finishing)} beside the program ({readable_bytes(probe.program_bytes)}); give more, "
            "a coarser --mpp or --level, or --format ome-tiff"
        )
        raise PlanError(msg)


def _skipped(cut: Cut, regions: Sequence[Window], area: Area | None) -> int | None:
    if area is None:
        return 0
    if sum(map(cut.tiles_of, regions)) > AOI_TILES_AT_MOST:
        return None
    raster, computed = cut.spec.window, ComputedArea(area, cut.map)
    return sum(
        not computed.meets(tile.scores.intersect(raster))
        for region in regions
        for tile in cut.lattice.tiles(cut.read_for(region))
    )
