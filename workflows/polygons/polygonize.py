"""Polygons of a class raster: vector tiles in parallel, joined across seams, written in every format."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from segment_tiles.pipeline.durable import remove
from segment_tiles.pipeline.errors import SourceChangedError, UsageError
from segment_tiles.pipeline.grid.classes import MapClass
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.finished_file import make_output_folder
from segment_tiles.pipeline.sources.versions.version import KnownVersion, known_version
from segment_tiles.pipeline.vectors.files.formats import VectorFormat, layer_names
from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.pipeline.vectors.files.object_columns import object_numbers, values_of_parts
from segment_tiles.pipeline.vectors.files.parts import MergedParts, read_part_columns
from segment_tiles.pipeline.vectors.geometry.measure import measure_of
from segment_tiles.pipeline.vectors.objects.rules import check_objects, code_rules
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import (
    ClassRasterSpec,
    RasterName,
    identifying_name,
    raster_name,
)
from segment_tiles.pipeline.vectors.rasters.opening import open_class_raster
from segment_tiles.pipeline.vectors.rasters.selection import check_request, class_selection
from segment_tiles.pipeline.vectors.tile_ledger import TileLedger
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.output_folder.lock import held_folder
from segment_tiles.workflows.polygons.files import (
    LayerFile,
    files_by_class,
    layers_of_classes,
    targets_of,
    write_files,
    write_styles,
)
from segment_tiles.workflows.polygons.report import (
    PolygonizeReport,
    class_totals,
    placement_notes,
    with_densities,
)
from segment_tiles.workflows.polygons.traced import Progress, traced
from segment_tiles.workflows.polygons.vector_pool import start_loading
from segment_tiles.workflows.sizes_check import check_workers

if TYPE_CHECKING:
    from segment_tiles.workflows.polygons.objects import FoundObjects

log = logging.getLogger(__name__)

KINDS: Final = ("polygons", "objects", "labels")
"""Beginnings of the names of files in a folder of results."""
_ADDED: Final[dict[str, object]] = {
    "objects": [],
    "maximum_area": None,
    "minimum_confidence": 0.0,
    "drops_edge": False,
    "measure": None,
}
"""Options that earlier versions did not know, as they were in effect."""


def polygonize(
    raster: str | Path,
    out: Sequence[Path],
    options: PolygonizeOptions | None = None,
    *,
    formats: Sequence[str | VectorFormat | None] | None = None,
    workers: int = 1,
    threads: int = 1,
    level_scale: float = 1.0,
    split_by_class: bool = False,
    restart: bool = False,
    traced_ahead: Path | None = None,
    progress: Progress | None = None,
) -> PolygonizeReport:
    """Turn a class raster of any size into polygons.

    ``raster`` is ``classes.zarr``, the folder of a finished run, or a GDAL raster of integer classes.
    It may be any name that GDAL understands: a URL, ``/vsizip/...``, ``NETCDF:file:variable``.
    Every file of ``out`` has the format that its ending means, or the one in ``formats`` at its position.
    ``level_scale``, for QuPath, is the number of full-resolution pixels in a pixel of a class map made
    on a coarser level of a slide. ``split_by_class`` makes ``a.CLASS.gpkg`` of every class that has a feature, in place
    of ``a.gpkg``. ``restart`` forgets the finished tiles of an interrupted request.
    ``threads`` are those of this process, if it works alone; like ``workers`` they change no polygon.
    ``traced_ahead`` holds tiles of this raster that were traced by the same options while it was in work.

    Raises
    ------
    VectorError, UsageError
        When the raster is not one of integer classes, or an option, a file or a number does not fit.
    OutputError, WriteFailedError
        When another process writes the first file, or unfinished tiles of another request lie beside it; when the
        disk is full.
    """
    started = time.monotonic()
    _check_numbers(workers, level_scale)
    options = options or PolygonizeOptions()
    raster = raster_name(raster)
    targets = targets_of(out, formats)
    start_loading(workers)
    known = _versions(raster, options)  # before it is opened
    spec = _checked_spec(raster, options)
    for _, kind in targets:
        kind.check_crs(str(raster), spec.georef.crs)
        kind.check_objects(has_objects=bool(options.objects))
    tiles = _tiles_beside(out[0])
    with held_folder(tiles, out[0], "file"):
        for path in out:
            make_output_folder(path.parent)
        ledger = TileLedger(tiles)
        ledger.begin(_settings(raster, known, options), restart=restart)
        log.info(
            "%s: %d x %d pixels; %s, %s", shown_name(str(raster)), spec.width, spec.height,
            counted(workers, "process", "processes"), "begun anew" if restart else "finished tiles are kept",
        )  # fmt: skip
        if traced_ahead is not None:
            ledger.adopt(traced_ahead)
        found = traced(raster, spec, ledger, options, workers, threads, progress)
        parts, objects = found.parts, found.objects
        for version in known:
            _require_one_version(version, ledger)
        layer = _layer(targets[0][0], parts, spec, level_scale, objects)
        files = files_by_class(targets, layer, parts) if split_by_class else [(*t, layer) for t in targets]
        report = _written(raster, targets, files, parts, spec, layer, started)
        if objects is not None:
            report = replace(report, notes=(*report.notes, *objects.notes))
            report = with_densities(report, spec, _classes_with_objects(spec, options, layer), objects.valid)
        ledger.remove()
    log.info("%s in %.1f s", counted(report.features, "feature"), report.seconds)
    return report


def _classes_with_objects(spec: ClassRasterSpec, options: PolygonizeOptions, layer: Layer) -> list[MapClass]:
    """Return the classes that may have objects, those without any too."""
    rules = code_rules(spec, options)
    codes = np.array([] if rules is None else [rule.code for rule in rules.rules], dtype=np.int64)
    names = replace(layer, classes=spec.classes)
    return [names.map_class(code) for code in codes[class_selection(spec, options).selects(codes)].tolist()]


def _checked_spec(raster: RasterName, options: PolygonizeOptions) -> ClassRasterSpec:
    """Return what is known of the raster; refuse options that do not fit it."""
    with closing(open_class_raster(raster, band=options.band, reclass=options.reclass)) as opened:
        spec = opened.spec
    check_request(spec, options)
    check_objects(spec, options)
    if options.measure is not None:
        spec = replace(spec, notes=(*spec.notes, *check_measured(spec, options)))
    return spec


def check_measured(spec: ClassRasterSpec, options: PolygonizeOptions) -> tuple[str, ...]:
    """Refuse a raster to be measured that does not fit the class raster, or no objects; return notes.

    Raises
    ------
    VectorError, UsageError
        Naming it, and what does not fit.
    """
    from segment_tiles.pipeline.vectors.rasters.measured_raster import MeasuredRaster  # noqa: PLC0415

    assert options.measure is not None
    if not options.objects:
        msg = f"--measure {shown_name(str(options.measure))} is of objects, and no class has any; name one by --objects"
        raise UsageError(msg)
    with closing(MeasuredRaster(options.measure, spec)) as measured:
        return measured.notes(spec)


def _tiles_beside(first: Path) -> Path:
    return first.parent / f".{first.name}.tiles"


def take_up_tiles(folder: Path, files: Sequence[Path]) -> None:
    """Let the next request in a folder of results go on with the tiles of one that was killed, or remove them.

    A request keeps its tiles beside its first file; where that one was finished, the next request begins with
    another.
    """
    found = sorted(tiles for kind in KINDS for tiles in folder.glob(f".{kind}.*tiles"))
    wanted = _tiles_beside(files[0]) if files else None
    if found and wanted is not None and wanted not in found:
        found.pop().replace(wanted)
    for tiles in found:
        if tiles != wanted:
            remove(tiles)


def _written(
    raster: RasterName,
    targets: Sequence[tuple[Path, VectorFormat]],
    files: Sequence[LayerFile],
    parts: Sequence[Path],
    spec: ClassRasterSpec,
    layer: Layer,
    started: float,
) -> PolygonizeReport:
    """Write every file; return what it gave."""
    # first: a run takes the layers for the sign that all is done
    styles = write_styles(raster, files)
    notes = dict.fromkeys([*placement_notes(spec, targets), *write_files(files), *styles])
    return PolygonizeReport(
        files=tuple(path for path, _, _ in files),
        features=len(layer.parts),
        classes=class_totals(parts, layer),
        unit=layer.measure.suffix,
        notes=tuple(notes),
        seconds=time.monotonic() - started,
    )


def _check_numbers(workers: int, level_scale: float) -> None:
    check_workers(workers)
    if not level_scale > 0:
        raise UsageError(f"level scale is {level_scale}; it must be more than 0")


def _require_one_version(known: KnownVersion, ledger: TileLedger) -> None:
    """Refuse polygons of a raster that changed while it was read; its tiles are not used later."""
    try:
        known.require_same()
    except SourceChangedError:
        if known.now() is not None:  # one that has only gone may come back as it was
            ledger.remove()
        raise


def _versions(raster: RasterName, options: PolygonizeOptions) -> list[KnownVersion]:
    """Return the versions of the class raster, and of the one that is measured."""
    names = [identifying_name(raster), *([] if options.measure is None else [str(options.measure)])]
    return [known_version(name, overviews=False) for name in names]


def _settings(
    raster: RasterName, known: Sequence[KnownVersion], options: PolygonizeOptions
) -> dict[str, object]:
    """Return what the tiles depend on: the same settings may go on with the same tiles."""
    values = json.loads(json_text(asdict(replace(options, measure=None)), indent=None))
    del values["mask"]  # what is polygonised of a raster, this or that, is not the user's choice
    if not options.reclass:
        del values["reclass"]  # tiles of earlier versions, which knew none, are gone on with
    for name, usual in _ADDED.items():
        if values[name] == usual:
            del values[name]
    if options.measure is not None:
        values["measure"] = _named(options.measure)
        values["measure_version"] = known[1].before
    return {"raster": _named(raster), "raster_version": known[0].before, **values}


def _named(raster: RasterName) -> str:
    """Return the name of a raster as the ledger keeps it: without secrets."""
    return str(raster.resolve()) if isinstance(raster, Path) else shown_name(raster)


def _layer(
    path: Path, parts: Sequence[Path], spec: ClassRasterSpec, level_scale: float, found: FoundObjects | None
) -> Layer:
    codes: set[int] = set()
    has_multiple = False
    for part in parts:
        code, multiple = read_part_columns(part, ["code", "is_multiple"])
        codes.update(np.unique(code).tolist())
        has_multiple |= bool(multiple.any())
    unnamed = Layer("", MergedParts([]), spec.classes, spec.georef, measure_of(spec.georef), has_multiple)
    classes = tuple(unnamed.map_class(code) for code in sorted(codes))
    name = path.name.split(".")[0] or "polygons"
    objects = None if found is None else object_numbers(parts)
    layer = Layer(
        name,
        MergedParts(parts),
        classes,
        spec.georef,
        unnamed.measure,
        has_multiple,
        level_scale,
        objects=objects,
        values=values_of_parts(parts),
        object_pixels=None if found is None else found.pixels,
    )
    if not spec.masks:
        return layer
    of_classes = zip(layer_names(classes), layers_of_classes(layer, parts), strict=True)
    return replace(layer, by_class=tuple(replace(one, name=own) for own, one in of_classes))
