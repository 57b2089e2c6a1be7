"""Plan: what a run will do, computed before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from segment_tiles.pipeline.errors import PlanError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.dicom.segmentation import takes
from segment_tiles.pipeline.outputs.stores.store import shard_shape
from segment_tiles.pipeline.sources.areas.area_of_interest import Area
from segment_tiles.pipeline.sources.volumes.volume import is_read_whole
from segment_tiles.pipeline.wording import readable_bytes
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.plans.memory import (
    FINISHING_BYTES,
    READ_WHOLE_TAKES,
    MemoryPlan,
    memory_of_region,
    memory_of_slices,
)
from segment_tiles.workflows.plans.probe import Probe
from segment_tiles.workflows.plans.strips import columns_at_least, in_strips
from segment_tiles.workflows.process_memory import DEFAULT_MEMORY_SHARE, available_bytes
from segment_tiles.workflows.regions.slab import slabs_of
from segment_tiles.workflows.scenes.scene import Scene, direction_scene
from segment_tiles.workflows.scenes.volume_scene import VolumeScene

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
    workers: int
    """Regions that are done at the same time."""
    disk_bytes: int
    """Estimate of what the results take on disk."""
    regions_of_directions: tuple[tuple[Window, ...], ...] = ()
    """Of a volume: Regions on every slice of each of its directions."""
    slices: int = 1
    """Of a volume: slices of the result, in the order of its first direction."""

    @property
    def expected_seconds(self) -> float:
        """Tiles that are computed times the measured seconds of one; reading and writing hide behind."""
        at_once = min(self.workers, len(self.regions) * len(slabs_of(self.slices)))
        return (self.tiles - (self.skipped or 0)) * self.probe.seconds_per_tile / at_once


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
        Where not even the narrowest Region fits.
    """
    limit = config.memory or worker_memory or int(available_bytes() * DEFAULT_MEMORY_SHARE / workers)
    limit = min(limit, worker_memory or limit)
    if scene.volume is not None:
        return _volume_plan(config, scene, scene.volume, probe, limit, workers)
    _check_finishing(config, scene, probe, limit)
    columns = _columns(config, scene, probe, limit, columns_at_least(scene.roi, workers))
    regions = in_strips(scene.lattice, scene.roi, columns, workers)
    in_raster = [region.shift(scene.roi.row, scene.roi.column) for region in regions]
    memory = max((_memory(config, scene, probe, window) for window in in_raster), key=lambda m: m.total)
    table = scene.manifest.classes
    layers = np.dtype(table.dtype).itemsize + 1 + (table.count if config.scores else 0)
    tiles, skipped = sum(map(scene.lattice.tile_count, in_raster)), _skipped(scene, in_raster, area)
    # what is left out is nodata, of which nothing is stored
    computed = 1.0 if skipped is None else (tiles - skipped) / tiles
    return Plan(
        scene,
        probe,
        regions,
        tiles,
        skipped,
        memory,
        limit,
        workers,
        # overviews take a third more; the COG repeats the codes
        int(scene.roi.area * (layers + 1) * 4 / 3 * COMPRESSED_SHARE * computed),
    )


def _volume_plan(
    config: RunConfig, scene: Scene, volume: VolumeScene, probe: Probe, limit: int, workers: int
) -> Plan:
    """Plan every direction of a volume as a slice that is done many times, beside the slices that are held."""
    held = max(memory_of_slices(volume.spec, d.slicing, volume.neighbours) for d in volume.directions)
    held += READ_WHOLE_TAKES * volume.spec.nbytes if is_read_whole(scene.uri) else 0
    left = limit - probe.program_bytes - held
    if left <= 0:
        msg = (
            f"--memory allows {readable_bytes(limit)}, but reading the volume takes {readable_bytes(held)} beside "
            f"the program ({readable_bytes(probe.program_bytes)}); give more"
        )
        raise PlanError(msg)
    # the formats are those of the volume, whose memory is counted below
    for_slices = replace(config, memory=limit - held, scores=config.scores or volume.is_averaged, formats=())
    parts = [
        make_plan(for_slices, replace(direction_scene(scene, direction), volume=None), probe, None)
        for direction in volume.directions
    ]
    memory = max((part.memory for part in parts), key=lambda m: m.total)
    finishing = FINISHING_BYTES + (
        _mask_bytes(config, scene, volume.spec.voxels) if "dicom-seg" in config.formats else 0
    )
    return Plan(
        scene,
        probe,
        parts[0].regions,
        sum(part.tiles * d.shape[0] for part, d in zip(parts, volume.directions, strict=True)),
        0,
        replace(memory, volume=held, finishing=finishing),
        limit,
        workers,
        # beside the result the copy of the voxels, until the end
        volume.spec.nbytes
        + sum(part.disk_bytes * d.shape[0] for part, d in zip(parts, volume.directions, strict=True)),
        tuple(part.regions for part in parts),
        volume.shape[0],
    )


def _columns(config: RunConfig, scene: Scene, probe: Probe, limit: int, at_least: int) -> tuple[Window, ...]:
    """Return the full width where memory and workers allow, else the widest columns of shards that fit."""
    height, width = scene.roi.shape
    _, side = shard_shape(width)
    shard_columns = -(-width // side)
    for pieces in range(at_least, shard_columns + 1):
        step = -(-shard_columns // pieces) * side
        regions = tuple(
            Window.from_edges(0, left, height, min(left + step, width)) for left in range(0, width, step)
        )
        if len(regions) < at_least:
            continue  # whole shards do not divide into just as many columns
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


def _check_finishing(config: RunConfig, scene: Scene, probe: Probe, limit: int) -> None:
    """Refuse a DICOM SEG of a slide that memory cannot hold, before its computation."""
    finishing = _finishing(config, scene)
    if finishing > FINISHING_BYTES and probe.program_bytes + finishing > limit:
        msg = (
            f"--memory allows {readable_bytes(limit)}, but DICOM SEG is made in memory and takes "
            f"{readable_bytes(finishing)} beside the program ({readable_bytes(probe.program_bytes)}); give more, "
            "a coarser --mpp or --level, or --format ome-tiff"
        )
        raise PlanError(msg)


def _finishing(config: RunConfig, scene: Scene) -> int:
    """Return bytes of what follows the computation: of a slide with a whole map in memory for DICOM SEG."""
    if "dicom-seg" not in config.formats:
        return FINISHING_BYTES
    return FINISHING_BYTES + _mask_bytes(config, scene, scene.roi.area)


def _mask_bytes(config: RunConfig, scene: Scene, pixels: int) -> int:
    table = scene.manifest.classes
    return takes(table.count - 1, config.dicom_seg) * pixels * int(np.dtype(table.dtype).itemsize)


def _memory(config: RunConfig, scene: Scene, probe: Probe, region: Window) -> MemoryPlan:
    table = scene.manifest.classes
    memory = memory_of_region(
        scene.lattice,
        scene.spec,
        region,
        classes=table.count,
        code_size=int(np.dtype(table.dtype).itemsize),
        with_scores=config.scores,
        program=probe.program_bytes,
        batch=probe.batch_bytes,
    )
    return replace(memory, finishing=_finishing(config, scene))


def _skipped(scene: Scene, regions: list[Window], area: Area | None) -> int | None:
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
