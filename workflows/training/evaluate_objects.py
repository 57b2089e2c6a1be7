"""Objects against true objects: label images or polygons, of one scene or of folders of many."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.labels import VECTOR_SUFFIXES
from segment_tiles.pipeline.learning.folders.pairs import BESIDE_MASKS
from segment_tiles.pipeline.learning.scores.objects.counts import OverlapCounter, Overlaps
from segment_tiles.pipeline.learning.scores.objects.label_store import LabelStore
from segment_tiles.pipeline.learning.scores.objects.layers import (
    LabelImage,
    ObjectLayers,
    PolygonLayers,
    Polygons,
    listed,
    read_polygons,
)
from segment_tiles.pipeline.learning.scores.objects.summary import mean_over_scenes, object_summary
from segment_tiles.pipeline.learning.scores.objects.totals import ObjectTotals
from segment_tiles.pipeline.learning.scores.objects.vectors import polygon_overlaps
from segment_tiles.pipeline.names import is_url, shown_name
from segment_tiles.pipeline.sources.areas.vector_file import split_layer
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.vectors.files.object_files import is_label_zarr
from segment_tiles.pipeline.vectors.rasters.zarr_class_raster import ZarrClassRaster
from segment_tiles.pipeline.wording import counted

log = logging.getLogger(__name__)

WINDOW_SIDE: Final = 1024
"""Pixels of a window that is counted at once."""
NOTES_OF_SCENES: Final = 20
"""Notes that are told; a folder may have a thousand scenes."""
OF_A_RUN: Final = ("polygons.parquet", "polygons.gpkg", "polygons.geojson", "polygons.fgb", "labels.tif")
"""What the folder of a run may have of its objects; the first that is there is taken: polygons have classes."""
LABELS_STORE: Final = "labels.zarr"
OF_POLYGONS: Final = "{} says the class of polygons, but {} is a label image; leave it out"
APART: Final = (
    "no object of {} meets one of {}: are both in the same pixels or units, with rows in one direction?"
)

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
        return {_name_of(map_path): (_objects_in(map_path), _objects_in(truth_path))}
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
        if entry.name.startswith(".") or not (_is_mask(entry) or _of_run(entry) is not None):
            continue
        name = _name_of(entry)
        if name in found:
            msg = f"{found[name]} and {entry.name} have one name; scenes are paired by name"
            raise UsageError(msg)
        found[name] = _objects_in(entry)
    if not found:
        msg = f"{path} has neither label images nor polygons nor folders of runs"
        raise UsageError(msg)
    return found


def _name_of(path: Path) -> str:
    return path.name if path.is_dir() and not path.name.endswith(LABELS_STORE) else path.stem


def _is_mask(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() not in BESIDE_MASKS


def _of_run(path: Path) -> Path | None:
    """Return the objects in the folder of a run; None if it is none."""
    found = next((path / name for name in OF_A_RUN if (path / name).is_file()), None)
    store = path if path.name.endswith(LABELS_STORE) else path / LABELS_STORE
    if found is not None or not store.is_dir():
        return found
    if not is_label_zarr(store):
        msg = (
            f"{store} holds no numbers of objects as segment-tiles writes them; write them again: segment-tiles "
            "polygonize RUN --out NAME.labels.zarr"
        )
        raise UsageError(msg)
    return store


def _objects_in(path: Path) -> Path:
    found = _of_run(path) or path
    classes = _classes_of_labels(found)
    if len(classes) > 1:
        msg = f"{found} has objects of {', '.join(classes)} and does not say which is which; write polygons of them"
        raise UsageError(msg)
    return found


def _classes_of_labels(path: Path) -> tuple[str, ...]:
    """Return the classes of the objects of a run's label image, as the run tells them; empty: it does not."""
    table, store = path.with_name("objects.parquet"), path.with_name("classes.zarr")
    if path.name not in {"labels.tif", LABELS_STORE}:
        return ()
    if table.is_file():
        return tuple(
            sorted(pyarrow.parquet.read_table(table, columns=["class_name"])[0].unique().to_pylist())
        )
    if store.is_dir():
        with closing(ZarrClassRaster(store)) as raster:
            return tuple(rule.name for rule in raster.spec.objects)
    return ()


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
        A label image is to have several classes, or no polygon of the truth is of any of them.
    SourceError
        A map cannot be opened.
    """
    _refuse_no_class(scenes, classes, class_column, class_values)
    by_scene: dict[str, list[ObjectTotals]] = {}
    notes: list[str] = []
    for name, (map_path, truth_path) in scenes.items():
        overlaps, said = _overlaps(map_path, truth_path, classes, class_column, class_values)
        by_scene[name] = [ObjectTotals.of(overlaps.of_class(code)) for code in range(len(classes))]
        notes += said
        if sum(by_scene[name], ObjectTotals()).is_apart:
            notes.append(APART.format(map_path, truth_path))
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
    if (more := len(notes) - NOTES_OF_SCENES) > 0:
        notes = [*notes[:NOTES_OF_SCENES], f"there are {counted(more, 'more note')} on scenes"]
    return document | {"notes": notes}


def _refuse_no_class(
    scenes: ScenePairs, classes: Sequence[str], column: str | None, class_values: Mapping[str, str]
) -> None:
    """Raise if the polygons of the truth are all of other classes; reads up to the first scene that has one."""
    others: set[str] = set()
    for _, truth_path in scenes.values():
        truth = _polygons_of(truth_path, classes, column, class_values)
        if truth is None and (column or class_values):
            option = "--class-column" if column else "--class-value"
            raise UsageError(OF_POLYGONS.format(option, truth_path))
        if truth is None or len(truth.geometries):
            return
        others.update(truth.others)
    if others:
        first = next(iter(scenes.values()))[1]
        msg = (
            f"no polygon of {first if len(scenes) == 1 else first.parent} is of the class {' or '.join(classes)}; "
            f"there are {listed(sorted(others))}: name one by --objects, or say what it means by --class-value"
        )
        raise UsageError(msg)


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
    spec = _grid_of(map_path if truth is not None else truth_path)
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
    if is_label_zarr(path):
        return LabelStore(path, path.name).spec
    with closing(open_source(str(path))) as source:
        return source.spec


def _layers(path: Path, polygons: Polygons | None, spec: RasterSpec, classes: Sequence[str]) -> ObjectLayers:
    if polygons is None:
        return LabelImage(path.name, str(path), spec, classes)
    return PolygonLayers(path.name, str(path), polygons, spec)


def _counted(truth: ObjectLayers, mapped: ObjectLayers, spec: RasterSpec) -> Overlaps:
    """Count window by window; a pixel that the map does not know is no object, one of the truth is void."""
    counter = OverlapCounter()
    for window in spec.window.parts(WINDOW_SIDE, WINDOW_SIDE):
        true_layers, known = truth.read(window)
        map_layers, _ = mapped.read(window)
        counter.add(true_layers, map_layers, known, (truth.classes_of, mapped.classes_of))
    ours, theirs = counter.numbers()
    others, pixels = mapped.pixels_of_others(theirs)
    scored = np.array([_is_known(truth, row, column) for row, column in pixels.tolist()], dtype=bool)
    counter.add_empty(truth.pixels_of_others(ours)[0], others[scored])
    ours, theirs = counter.numbers()
    return counter.overlaps(truth.classes_of(ours), mapped.classes_of(theirs))


def _is_known(truth: ObjectLayers, row: int, column: int) -> bool:
    known = truth.read(Window(row, column, 1, 1))[1]
    return known is None or bool(known.all())
