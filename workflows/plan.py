"""Plan: what a run will do, computed before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segment_tiles.pipeline.errors import PlanError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.store import shard_shape
from segment_tiles.pipeline.sources.area_of_interest import AreaOfInterest
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.memory import MemoryPlan, memory_of_region
from segment_tiles.workflows.probe import Probe
from segment_tiles.workflows.process_memory import available_bytes
from segment_tiles.workflows.scene import Scene

DEFAULT_MEMORY_SHARE = 0.8
"""Share of the free memory that a run may take unless told."""
COMPRESSED_SHARE = 0.15
"""Bytes on disk per byte of codes and confidence, as seen on real class maps; an estimate."""
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
    """Tiles that the AOI leaves out; None where it was not counted."""
    memory: MemoryPlan
    """Bytes of one worker on its widest Region."""
    memory_limit: int
    """Bytes that it may take."""
    disk_bytes: int
    """Estimate of what the results take on disk."""

    @property
    def expected_seconds(self) -> float:
        """Tiles that are computed times the measured seconds of one; reading and writing hide behind."""
        return (self.tiles - (self.skipped or 0)) * self.probe.seconds_per_tile


def make_plan(config: RunConfig, scene: Scene, probe: Probe, area: AreaOfInterest | None) -> Plan:
    """Divide the result into Regions that fit the memory, and count what they take.

    Raises
    ------
    PlanError
        Where not even the narrowest Region fits.
    """
    limit = config.memory or int(available_bytes() * DEFAULT_MEMORY_SHARE)
    regions = _regions(config, scene, probe, limit)
    in_raster = [region.shift(scene.roi.row, scene.roi.column) for region in regions]
    memory = max((_memory(config, scene, probe, window) for window in in_raster), key=lambda m: m.total)
    table = scene.manifest.classes
    layers = np.dtype(table.dtype).itemsize + 1 + (table.count if config.scores else 0)
    return Plan(
        scene,
        probe,
        regions,
        sum(scene.lattice.tile_count(window) for window in in_raster),
        _skipped(scene, in_raster, area),
        memory,
        limit,
        # overviews take a third more; the COG repeats the codes
        int(scene.roi.area * (layers + 1) * 4 / 3 * COMPRESSED_SHARE),
    )


def _regions(config: RunConfig, scene: Scene, probe: Probe, limit: int) -> tuple[Window, ...]:
    """Return full-width strips where the memory allows, else the widest columns of shards that fit."""
    height, width = scene.roi.shape
    _, side = shard_shape(width)
    shard_columns = -(-width // side)
    for pieces in range(1, shard_columns + 1):
        step = -(-shard_columns // pieces) * side
        regions = tuple(
            Window.from_edges(0, left, height, min(left + step, width)) for left in range(0, width, step)
        )
        needed = max(
            _memory(config, scene, probe, region.shift(scene.roi.row, scene.roi.column)).total
            for region in regions
        )
        if needed <= limit:
            return regions
    msg = (
        f"--memory allows {readable_bytes(limit)}, but one row of {scene.lattice.tile} px tiles across the "
        f"narrowest Region takes {readable_bytes(needed)}; give at least that, or a smaller --tile or --batch"
    )
    raise PlanError(msg)


def _memory(config: RunConfig, scene: Scene, probe: Probe, region: Window) -> MemoryPlan:
    table = scene.manifest.classes
    return memory_of_region(
        scene.lattice,
        scene.spec,
        region,
        classes=table.count,
        code_size=int(np.dtype(table.dtype).itemsize),
        with_scores=config.scores,
        program=probe.program_bytes,
        batch=probe.batch_bytes,
    )


def _skipped(scene: Scene, regions: list[Window], area: AreaOfInterest | None) -> int | None:
    if area is None:
        return 0
    if sum(scene.lattice.tile_count(region) for region in regions) > AOI_TILES_AT_MOST:
        return None
    raster = scene.spec.window
    return sum(
        not area.meets(tile.read.intersect(raster))
        for region in regions
        for tile in scene.lattice.tiles(region)
    )


def readable_bytes(count: float) -> str:
    """Return bytes in the largest decimal unit that keeps a digit before the point.

    >>> readable_bytes(1_530_000_000)
    '1.53 GB'
    """
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1000
    return ""
