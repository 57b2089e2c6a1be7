"""Majority smoothing, sieve and hole filling of a class raster of any size, before it is polygonised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segment_tiles.pipeline.vectors.changes.holes import resolve_holes
from segment_tiles.pipeline.vectors.changes.sieve import SieveTable, resolve_sieve
from segment_tiles.pipeline.vectors.changes.surroundings import all_surroundings
from segment_tiles.pipeline.vectors.changes.work import ChangeSetup, ChangeWorker
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.changed_class_raster import create_codes
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec, RasterName
from segment_tiles.pipeline.vectors.rasters.selection import class_selection
from segment_tiles.pipeline.vectors.tile_ledger import TileLedger
from segment_tiles.pipeline.vectors.tiling import VectorTiling
from segment_tiles.workflows.polygons.vector_pool import Run, worker_pool

Step = Callable[[Run, VectorTiling, ClassRasterSpec, PolygonizeOptions], None]


def changed_codes(
    raster: RasterName, spec: ClassRasterSpec, ledger: TileLedger, options: PolygonizeOptions, workers: int
) -> Path | None:
    """Run the steps that the options ask for; return the array of the last one, or None without any.

    A step that is complete in the ledger is not repeated.
    """
    steps: list[tuple[str, Step]] = []
    if options.majority:
        steps.append(("majority", _majority))
    if options.sieve:
        steps.append(("sieve", _sieve))
    if options.minimum_hole:
        steps.append(("holes", _holes))
    before: Path | None = None
    tiling = VectorTiling(spec.height, spec.width, options.vector_tile)
    for name, step in steps:
        after = ledger.codes(name)
        if not ledger.has_step(name):
            create_codes(after, spec, options.vector_tile)
            with worker_pool(ChangeWorker, ChangeSetup(raster, before, after, options), workers) as run:
                step(run, tiling, spec, options)
            ledger.finish_step(name)
        before = after
    return before


def _majority(run: Run, tiling: VectorTiling, spec: ClassRasterSpec, options: PolygonizeOptions) -> None:
    _finish(run, "majority", range(tiling.count))


def _sieve(run: Run, tiling: VectorTiling, spec: ClassRasterSpec, options: PolygonizeOptions) -> None:
    seams = list(run("valid_seams", range(tiling.count)))
    attributes, surroundings = all_surroundings(tiling, seams, options.connectivity)
    links = list(run("sieve_links", list(enumerate(surroundings))))
    table = resolve_sieve(attributes, links, options.sieve)
    tasks = [
        (number, around, SieveTable(table.codes[around.numbers], table.changed[around.numbers]))
        for number, around in enumerate(surroundings)
    ]
    _finish(run, "sieve", tasks)


def _holes(run: Run, tiling: VectorTiling, spec: ClassRasterSpec, options: PolygonizeOptions) -> None:
    seams = list(run("all_seams", range(tiling.count)))
    _, surroundings = all_surroundings(tiling, seams, options.connectivity)
    groups, rims = zip(*run("holes", list(enumerate(surroundings))), strict=True)
    selection = class_selection(spec, options)
    filling = resolve_holes(tiling, groups, rims, options.minimum_hole, selection)
    tasks = [(n, around, fill) for n, (around, fill) in enumerate(zip(surroundings, filling, strict=True))]
    _finish(run, "fill", tasks)


def _finish(run: Run, step: str, tasks: object) -> None:
    for _ in run(step, tasks):  # type: ignore[arg-type]
        pass
