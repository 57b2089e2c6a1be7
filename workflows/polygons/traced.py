"""Tracing: vector tiles of a class raster, or of each class that may overlap, and what crosses their seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from segment_tiles.pipeline.durable import make_folder
from segment_tiles.pipeline.outputs.finished_file import write_failed
from segment_tiles.pipeline.vectors.geometry.seams import join_across_seams
from segment_tiles.pipeline.vectors.join_tasks import join_tasks
from segment_tiles.pipeline.vectors.objects.rules import feature_selection
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec, RasterName
from segment_tiles.pipeline.vectors.rasters.selection import wanted_masks
from segment_tiles.pipeline.vectors.tile_ledger import TileLedger
from segment_tiles.pipeline.vectors.tile_work import TileSetup, TileWorker
from segment_tiles.pipeline.vectors.tiling import VectorTiling
from segment_tiles.workflows.polygons.vector_pool import worker_pool

if TYPE_CHECKING:
    from segment_tiles.workflows.polygons.objects import FoundObjects

Progress = Callable[[str, int, int], None]
"""Called with the step, the number of finished tiles and the number of all tiles."""


@dataclass(frozen=True, slots=True)
class Traced:
    """What came of all tiles."""

    parts: list[Path]
    """Files that hold all features."""
    objects: FoundObjects | None
    """Which object each pixel belongs to, if objects are asked for."""


def traced(
    raster: RasterName,
    spec: ClassRasterSpec,
    ledger: TileLedger,
    options: PolygonizeOptions,
    workers: int,
    threads: int,
    progress: Progress | None,
) -> Traced:
    """Bring every tile into the ledger and return what came of it.

    Of classes that may overlap each is a raster by itself, with tiles in a folder of its own.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    if not spec.masks or options.mask is not None:
        codes = _changed_codes(raster, spec, ledger, options, workers)
        objects = _objects(raster, spec, codes, ledger, options, workers)
        sheaths = None if objects is None else objects.sheaths
        codes = codes if objects is None else objects.pixels.path
        setup = TileSetup(raster, codes, ledger.folder, options, sheaths)
        return Traced(_parts(setup, spec, workers, threads, progress), objects)
    parts: list[Path] = []
    for code in wanted_masks(spec, options):
        own = TileLedger(ledger.folder / f"class-{code}")
        try:
            make_folder(own.folder)
        except OSError as error:
            raise write_failed(own.folder, error) from error
        of_class = traced(raster, spec, own, replace(options, mask=code), workers, threads, progress)
        parts += of_class.parts
    return Traced(parts, None)


def _changed_codes(
    raster: RasterName, spec: ClassRasterSpec, ledger: TileLedger, options: PolygonizeOptions, workers: int
) -> Path | None:
    """Return the codes after majority, sieve and hole filling, or None if none is asked for."""
    if not options.changes_pixels:
        return None
    from segment_tiles.workflows.polygons.class_changes import changed_codes  # noqa: PLC0415 - brings Zarr

    return changed_codes(raster, spec, ledger, options, workers)


def _objects(
    raster: RasterName,
    spec: ClassRasterSpec,
    codes: Path | None,
    ledger: TileLedger,
    options: PolygonizeOptions,
    workers: int,
) -> FoundObjects | None:
    """Give pixels to objects, if any are asked for."""
    if not options.objects:
        return None
    from segment_tiles.workflows.polygons.objects import found_objects  # noqa: PLC0415 - brings Zarr

    return found_objects(raster, spec, codes, ledger, options, workers)


def _parts(
    setup: TileSetup, spec: ClassRasterSpec, workers: int, threads: int, progress: Progress | None
) -> list[Path]:
    ledger = TileLedger(setup.ledger)
    tiling = VectorTiling(spec.height, spec.width, setup.options.vector_tile)
    with worker_pool(TileWorker, setup, workers, min(threads, tiling.count)) as run:
        waiting = [n for n in range(tiling.count) if not ledger.has_tile(tiling.numbered(n))]
        _follow("trace", run("trace", waiting), tiling.count, len(waiting), progress)
        seams = [ledger.read_seams(tile) for tile in tiling]
        joined = join_across_seams(tiling, seams, setup.options.connectivity)
        tasks = join_tasks(tiling, joined, feature_selection(spec, setup.options), setup.options)
        open_tasks = [t for t in tasks if not ledger.has_joined(tiling.numbered(t.tile))]
        _follow("join", run("join", open_tasks), len(tasks), len(open_tasks), progress)
    homes = [ledger.joined(tiling.numbered(task.tile)) for task in tasks]
    return [ledger.whole(tile) for tile in tiling] + homes


def _follow(step: str, finished: Iterator[int], total: int, waiting: int, progress: Progress | None) -> None:
    for number, _ in enumerate(finished, start=total - waiting + 1):
        if progress is not None:
            progress(step, number, total)
