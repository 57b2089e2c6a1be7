"""Polygons of a class map that may lie at a URL, into files that may too."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from segment_tiles.workflows.buckets.copies import is_result, read_here
from segment_tiles.workflows.buckets.written import written_here
from segment_tiles.workflows.options.polygons import PolygonizeConfig
from segment_tiles.workflows.polygons import request as on_a_disk
from segment_tiles.workflows.polygons.report import PolygonizeReport
from segment_tiles.workflows.polygons.traced import Progress


def polygonize_as_asked(config: PolygonizeConfig, progress: Progress | None = None) -> PolygonizeReport:
    """Turn a class raster into polygons, as `workflows.polygons.request.polygonize_as_asked`.

    Raises
    ------
    PlaceError
        If a bucket does not answer, or does not let us write; nothing is traced then.
    SegmentTilesError
        As of a class raster and files on a disk.
    """
    with ExitStack() as stack:
        raster = config.raster
        if is_result(raster):
            raster = str(stack.enter_context(read_here(raster)))
        named = {stack.enter_context(written_here(out)): out for out in config.out}
        report = on_a_disk.polygonize_as_asked(replace(config, raster=raster, out=tuple(named)), progress)
    return replace(report, files=tuple(_as_named(path, named) for path in report.files))


def _as_named(path: Path, named: dict[Path, Path]) -> Path:
    """Return a file that was written by the name that the user gave to it or to its folder."""
    for written, out in named.items():
        if path == written or written in path.parents or path.parent == written.parent:
            return out.parent / path.relative_to(written.parent)
    return path
