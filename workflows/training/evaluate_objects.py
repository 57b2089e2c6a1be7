"""Objects against true objects: label images or polygons, of one scene or of folders of many."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import numpy as np

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.labels import VECTOR_SUFFIXES
from segment_tiles.pipeline.learning.scores.objects.counts import OverlapCounter, Overlaps
from segment_tiles.pipeline.learning.scores.objects.layers import (
    LabelImage,
    ObjectLayers,
    PolygonLayers,
    Polygons,
    read_polygons,
)
from segment_tiles.pipeline.learning.scores.objects.summary import mean_over_scenes, object_summary
from segment_tiles.pipeline.learning.scores.objects.totals import ObjectTotals
from segment_tiles.pipeline.learning.scores.objects.vectors import polygon_overlaps
from segment_tiles.pipeline.names import is_url, shown_name
from segment_tiles.pipeline.sources.areas.vector_file import split_layer
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.wording import counted

log = logging.getLogger(__name__)

WINDOW_SIDE: Final = 1024
"""Pixels of a window that is counted at once."""
NOTES_OF_SCENES: Final = 20
"""Notes that are told; a folder may have a thousand scenes."""
OF_A_RUN: Final = ("labels.tif", "polygons.parquet", "polygons.gpkg", "polygons.geojson", "polygons.fgb")
"""What the folder of a run may have of its objects; the first that is there is taken."""

ScenePairs = Mapping[str, tuple[Path, Path]]
"""Name of a scene -> its map and its truth."""


def paired_scenes(map_path: Path, truth: str) -> dict[str, tuple[Path, Path]]:
    """Return map and truth of the scene, or of all scenes of two folders, in pairs by name.

    Raises
    ------
    UsageError
        A folder has neither objects nor files, or a file of one folder has none of its name in the other.
    """
    for name in (str(map_path), truth):
        if is_url(name):
            msg = f"{shown_name(name)} is a URL; objects are scored from files, so bring it here first"
            raise UsageError(msg)
    truth_path = Path(truth)
    maps, truths = _scenes_in(map_path), _scenes_in(truth_path)
    if maps is None and truths is None:
        return {map_path.stem: (_objects_in(map_path), _objects_in(truth_path))}
    if maps is None or truths is None:
        alone = truth_path if maps is None else map_path
        msg = f"{alone} is a folder of scenes, the other is one scene; give two folders, or a file of each"
        raise UsageError(msg)
    for ours, theirs, folder in ((maps, truths, truth_path), (truths, maps, map_path)):
        if missing := sorted(ours.keys() - theirs.keys()):
            msg = f"{ours[missing[0]]} has none of its name in {folder}; scenes are paired by name"
            raise UsageError(msg)
    return {name: (maps[name], truths[name]) for name in sorted(maps)}


def _scenes_in(path: Path) -> dict[str, Path] | None:
    """Return the scenes of a folder by name; None if the path is one scene."""
    if not path.is_dir() or _of_run(path) is not None:
        return None
    found: dict[str, Path] = {}
    for entry in sorted(path.iterdir()):
        is_mask = entry.is_file() and not entry.name.endswith((".xml", ".csv", ".json", ".txt", ".md"))
        if not entry.name.startswith(".") and (is_mask or _of_run(entry) is not None):
            if entry.stem in found:
                msg = f"{found[entry.stem]} and {entry.name} have one name; scenes are paired by name"
                raise UsageError(msg)
            found[entry.stem] = _objects_in(entry)
    if not found:
        msg = f"{path} has neither label images nor polygons nor folders of runs"
        raise UsageError(msg)
    return found


def _of_run(path: Path) -> Path | None:
    return next((path / name for name in OF_A_RUN if (path / name).is_file()), None)


def _objects_in(path: Path) -> Path:
    return _of_run(path) or path


def evaluate_objects(
    scenes: ScenePairs, classes: Sequence[str], class_column: str | None, class_values: Mapping[str, str]
) -> dict[str, Any]:
    """Score objects and return the scores as one document.

    Parameters
    ----------
    scenes
        Map and truth of each: label images or vector files.
    classes
        Classes that are scored; of label images one.
    class_column
        Column of a vector file of truth that says the class; None: ``class_name``, ``class`` or ``classification``, if
        there is one.
    class_values
        Value of the column -> class.

    Raises
    ------
    TrainingError
        A file cannot be read, lies elsewhere, or has numbers that are none of objects.
    UsageError
        A label image is to have several classes.
    SourceError
        A map cannot be opened.
    """
    by_scene: dict[str, list[ObjectTotals]] = {}
    notes: list[str] = []
    for name, (map_path, truth_path) in scenes.items():
        overlaps, said = _overlaps(map_path, truth_path, classes, class_column, class_values)
        by_scene[name] = [ObjectTotals.of(overlaps.of_class(code)) for code in range(len(classes))]
        notes += said
        log.info("%s: objects are scored against %s", map_path, truth_path)
    totals = [sum(of_class, ObjectTotals()) for of_class in zip(*by_scene.values(), strict=True)]
    document: dict[str, Any] = {
        "classes": {name: object_summary(total) for name, total in zip(classes, totals, strict=True)}
    }
    if len(scenes) > 1:
        document["mean_over_scenes"] = {
            name: mean_over_scenes([totals[code] for totals in by_scene.values()])
            for code, name in enumerate(classes)
        }
        document["scenes"] = {
            scene: {name: object_summary(total) for name, total in zip(classes, totals, strict=True)}
            for scene, totals in by_scene.items()
        }
    if more := len(notes) - NOTES_OF_SCENES if len(notes) > NOTES_OF_SCENES else 0:
        notes = [*notes[:NOTES_OF_SCENES], f"there are {counted(more, 'more note')} on scenes"]
    return document | {"notes": notes}


def _overlaps(
    map_path: Path,
    truth_path: Path,
    classes: Sequence[str],
    column: str | None,
    class_values: Mapping[str, str],
) -> tuple[Overlaps, tuple[str, ...]]:
    """Return what objects of one scene share, and notes."""
    mapped = _polygons_of(map_path, classes, None, {})
    truth = _polygons_of(truth_path, classes, column, class_values)
    if mapped is not None and truth is not None:
        _refuse_other_crs(mapped, truth, map_path, truth_path)
        return polygon_overlaps(truth, mapped), (*truth.notes, *mapped.notes)
    spec = _grid_of(truth_path if mapped is not None else map_path)
    with ExitStack() as open_files:
        layers = [
            open_files.enter_context(closing(_layers(path, polygons, spec, classes)))
            for path, polygons in ((truth_path, truth), (map_path, mapped))
        ]
        return _counted(layers[0], layers[1], spec), (*layers[0].notes, *layers[1].notes)


def _polygons_of(
    path: Path, classes: Sequence[str], column: str | None, values: Mapping[str, str]
) -> Polygons | None:
    """Return the polygons of a vector file; None if it is a label image."""
    if split_layer(path)[0].suffix.lower() not in VECTOR_SUFFIXES:
        return None
    return read_polygons(str(path), classes, column, values)


def _refuse_other_crs(mapped: Polygons, truth: Polygons, map_path: Path, truth_path: Path) -> None:
    if mapped.crs != truth.crs:
        names = [None if crs is None else crs.to_string() for crs in (mapped.crs, truth.crs)]
        msg = (
            f"{map_path} has the CRS {names[0]}, {truth_path} has {names[1]}; bring the polygons into one CRS"
        )
        raise UsageError(msg)


def _grid_of(path: Path) -> RasterSpec:
    with closing(open_source(str(path))) as source:
        return source.spec


def _layers(path: Path, polygons: Polygons | None, spec: RasterSpec, classes: Sequence[str]) -> ObjectLayers:
    if polygons is None:
        return LabelImage(path.name, str(path), spec, classes)
    return PolygonLayers(path.name, str(path), polygons, spec)


def _counted(truth: ObjectLayers, mapped: ObjectLayers, spec: RasterSpec) -> Overlaps:
    counter = OverlapCounter()
    for window in _windows(spec):
        true_layers, true_known = truth.read(window)
        map_layers, map_known = mapped.read(window)
        known = [part for part in (true_known, map_known) if part is not None]
        counter.add(true_layers, map_layers, np.logical_and.reduce(known) if known else None)
    ours, theirs = counter.numbers()
    return counter.overlaps(truth.classes_of(ours), mapped.classes_of(theirs))


def _windows(spec: RasterSpec) -> Iterator[Window]:
    for row in range(0, spec.height, WINDOW_SIDE):
        for column in range(0, spec.width, WINDOW_SIDE):
            yield Window(row, column, WINDOW_SIDE, WINDOW_SIDE).intersect(spec.window)
