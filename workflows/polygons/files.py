"""The files of a polygonisation: what was asked for, one for each class, and the styles beside them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.outputs.finished_file import finished_files
from segment_tiles.pipeline.outputs.qgis_style import polygon_style, style_path, write_style
from segment_tiles.pipeline.vectors.files.formats import VectorFormat, class_endings, vector_format
from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.pipeline.vectors.files.parts import MergedParts
from segment_tiles.pipeline.vectors.rasters.class_raster import RasterName
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.output_folder.check import check_output_file

log = logging.getLogger(__name__)

LayerFile = tuple[Path, VectorFormat, Layer]
"""A file, its format, and what it holds."""


def files_by_class(
    targets: Sequence[tuple[Path, VectorFormat]], layer: Layer, parts: Sequence[Path]
) -> list[LayerFile]:
    """Return a file for each class, of each format.

    Raises
    ------
    OutputError
        If the name of one is that of a folder of something else.
    """
    endings, by_class = class_endings(layer.classes), layers_of_classes(layer, parts)
    files = [
        (kind.path_of_class(path, ending), kind, of_class)
        for path, kind in targets
        for ending, of_class in zip(endings, by_class, strict=True)
    ]
    for path, kind, _ in files:
        check_output_file(path, is_folder=kind.is_own_folder(path))
    return files


def layers_of_classes(layer: Layer, parts: Sequence[Path]) -> list[Layer]:
    """Return the features of each class as a layer."""
    return [
        replace(layer, parts=MergedParts(parts, entry.code), classes=(entry,), by_class=())
        for entry in layer.classes
    ]


def write_files(files: Sequence[LayerFile]) -> list[str]:
    """Write every file; return what the writers have to say."""
    notes: list[str] = []
    for path, kind, layer in files:
        with finished_files(*kind.files_of(path)) as unfinished:
            notes.extend(f"{path.name}: {note}" for note in kind.write(unfinished[-1], layer))
        log.info("%s is written", path)
    return notes


def write_styles(raster: RasterName, files: Sequence[LayerFile]) -> list[str]:
    """Write a style for QGIS beside every file that has the class column; return where that was not done."""
    styles = {style_path(path): (path, layer) for path, kind, layer in files if kind.has_class_column}
    notes = []
    for style, (path, layer) in styles.items():
        # the style of a file, or of the map in a result folder; the folder itself has none
        is_folder = isinstance(raster, Path) and (raster / "classes.zarr").is_dir()
        if isinstance(raster, Path) and not is_folder and style == style_path(raster):
            notes.append(
                f"{style.name}: not written, QGIS would use it for {raster.name} too; give another --out"
            )
        elif not write_style(path, polygon_style(layer.classes)):
            notes.append(f"{style.name}: kept as it is, since segment-tiles did not make it")
    return notes


def targets_of(
    out: Sequence[Path], formats: Sequence[str | VectorFormat | None] | None
) -> list[tuple[Path, VectorFormat]]:
    """Return every file with its format.

    Raises
    ------
    UsageError
        If there is none, one is named twice, or a format is not known.
    OutputError
        If a file cannot be written where it is asked for.
    """
    if not out:
        raise UsageError("no output file is named; give one such as polygons.parquet")
    names = formats or [None] * len(out)
    if len(names) != len(out):
        raise UsageError(
            f"{counted(len(names), 'format')} for {counted(len(out), 'file')}; give one for each, or none"
        )
    twice = [path.name for path in out if list(out).count(path) > 1]
    if twice:
        raise UsageError(f"{twice[0]} is named twice; give each file its own name")
    targets = [(path, vector_format(path, name)) for path, name in zip(out, names, strict=True)]
    for path, kind in targets:
        check_output_file(path, is_folder=kind.is_own_folder(path))
    return targets
