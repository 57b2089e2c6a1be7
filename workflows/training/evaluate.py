"""Evaluate: a class map and the truth in, scores out."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zarr

from segment_tiles.pipeline.accepted import PolygonShape
from segment_tiles.pipeline.durable import make_folder, write_whole
from segment_tiles.pipeline.errors import OutputError, UsageError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.learning.data.labels import open_labels
from segment_tiles.pipeline.learning.evaluation_pictures import save_confusion
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.learning.scores.evaluation import (
    Evaluation,
    evaluate_map,
    evaluated_classes,
    grid_of,
)
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.rasters.block_cache import DEFAULT_MIB, block_cache_of_mib
from segment_tiles.pipeline.vectors.rasters.opening import open_class_raster
from segment_tiles.workflows.options.evaluation import EvaluateConfig
from segment_tiles.workflows.output_folder.check import check_output_folder
from segment_tiles.workflows.output_folder.lock import held_folder
from segment_tiles.workflows.training.evaluate_objects import evaluate_objects, paired_scenes
from segment_tiles.workflows.training.evaluate_volume import evaluate_volume, open_volume_store
from segment_tiles.workflows.training.learning_sources import sources_of_evaluation, sources_of_objects

log = logging.getLogger(__name__)

JSON_FILE = "evaluation.json"
PICTURE_FILE = "confusion.png"
LOCK_FOLDER = ".evaluation"
"""In the output folder while it is written."""


@dataclass(frozen=True, slots=True)
class TruthSettings:
    """What the truth is and what it means."""

    path: str
    """Class raster, folder of a run, or vector file."""
    class_column: str | None = None
    """Column of a vector file."""
    class_values: Mapping[str, str] = field(default_factory=dict)
    """Value of the column, or code of the raster -> class name of the map."""
    polygon_shape: PolygonShape = "polygon"
    unlabelled: str | None = None
    """Class outside all polygons; None: not scored."""
    ignored_values: Sequence[str] = ()
    """Codes of the raster that are no class."""

    def as_scene(self, raster: Path) -> SceneSettings:
        """Return the truth as the labels of a raster."""
        return SceneSettings(
            name=raster.name,
            raster=str(raster),
            labels=self.path,
            class_column=self.class_column,
            class_values=dict(self.class_values),
            polygon_shape=self.polygon_shape,
            unlabelled=self.unlabelled,
            ignored_values=tuple(self.ignored_values),
        )


def evaluate_as_asked(config: EvaluateConfig) -> dict[str, Any]:
    """Score a class map and return the scores as one document.

    Raises
    ------
    SegmentTilesError
        As `evaluate`.
    """
    truth = TruthSettings(
        path=config.truth,
        class_column=config.class_column,
        class_values=config.class_values,
        polygon_shape=config.polygon_shape,
        unlabelled=config.unlabelled,
        ignored_values=config.ignore_value,
    )
    with block_cache_of_mib(DEFAULT_MIB):  # GDAL's own 5 % of the machine would grow with the raster
        if config.objects:
            return _evaluate_objects(config.class_map, truth, config.objects, config.out)
        return evaluate(
            config.class_map,
            truth,
            class_names=config.classes or None,
            boundary_widths=config.boundary_widths,
            trimap_widths=config.trimap_widths,
            slices=config.slices,
            out=config.out,
        )


def _evaluate_objects(
    map_path: Path, truth: TruthSettings, classes: Sequence[str], out: Path | None
) -> dict[str, Any]:
    if out is not None:
        check_output_folder(out)
    scenes = paired_scenes(map_path, truth.path)
    sources = sources_of_objects(scenes)
    document = evaluate_objects(scenes, classes, truth.class_column, truth.class_values)
    sources.require_same()
    if out is not None:
        _write(out, document, None)
    return document


def evaluate(
    class_map_path: Path,
    truth: TruthSettings,
    *,
    class_names: Sequence[str] | None = None,
    boundary_widths: Sequence[int] = (1, 2, 5),
    trimap_widths: Sequence[int] = (1, 2, 5),
    slices: tuple[int, int] | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Score a class map and return the scores as one document.

    Parameters
    ----------
    class_map_path
        Folder of a run, its ``classes.zarr``, or a class raster.
    truth
        What it is compared with.
    class_names
        Names of the codes 0, 1, 2, ..., for maps that do not name them.
    boundary_widths, trimap_widths
        Pixels.
    slices
        Of the class map of a volume: first and last slice that are scored; None: all.
    out
        Folder for ``evaluation.json`` and ``confusion.png``; None writes nothing.

    Raises
    ------
    TrainingError
        The truth cannot be read, does not overlap, or has unknown classes.
    VectorError
        The class map is none.
    UsageError
        A width is below 1 or above 256, a class is not one of the map, or ``out`` is a URL.
    OutputError
        ``out`` cannot be written.
    SourceChangedError
        The class map or the truth has changed while it was read.
    """
    if out is not None:
        check_output_folder(out)
    widths = _Widths(tuple(boundary_widths), tuple(trimap_widths))
    sources = sources_of_evaluation(class_map_path, truth.path)
    volume = open_volume_store(class_map_path)
    if volume is not None:
        result = _evaluate_volume(volume, truth, slices, widths)
    elif slices is not None:
        msg = f"--slices is {slices[0]},{slices[1]}, but {class_map_path} is not the class map of a volume"
        raise UsageError(msg)
    else:
        result = _evaluate_raster(class_map_path, truth, class_names, widths)
    sources.require_same()
    log.info("%s is scored against %s", shown_name(str(class_map_path)), shown_name(truth.path))
    document = scores_document(result)
    if out is not None:
        _write(out, document, result)
    return document


@dataclass(frozen=True, slots=True)
class _Widths:
    """Pixels on both sides of an edge."""

    boundary: tuple[int, ...]
    trimap: tuple[int, ...]

    def __post_init__(self) -> None:
        for width in (*self.boundary, *self.trimap):
            if not 1 <= width <= 256:
                msg = f"a width is {width} px; it must be from 1 to 256"
                raise UsageError(msg)


def _evaluate_raster(
    class_map_path: Path, truth: TruthSettings, class_names: Sequence[str] | None, widths: _Widths
) -> Evaluation:
    class_map = open_class_raster(class_map_path)
    try:
        classes = evaluated_classes(class_map.spec, class_names)
        _check_names(truth, classes.names)
        settings = truth.as_scene(class_map_path)
        labels = open_labels(settings, truth.path, grid_of(class_map.spec), classes.names)
        try:
            return evaluate_map(
                class_map,
                labels,
                classes,
                boundary_widths=widths.boundary,
                trimap_widths=widths.trimap,
            )
        finally:
            labels.close()
    finally:
        class_map.close()


def _evaluate_volume(
    volume: zarr.Group, truth: TruthSettings, slices: tuple[int, int] | None, widths: _Widths
) -> Evaluation:
    return evaluate_volume(
        volume,
        truth.path,
        class_values=truth.class_values,
        unlabelled=truth.unlabelled,
        slices=slices,
        boundary_widths=widths.boundary,
        trimap_widths=widths.trimap,
    )


def scores_document(result: Evaluation) -> dict[str, Any]:
    """Return all scores as a JSON document; scores that are not defined are null."""
    matrix, calibration = result.confusion, result.calibration
    return {
        "pixels": matrix.pixels,
        "truth_without_class": result.truth_without_class,
        "accuracy": _number(matrix.accuracy),
        "mean_iou": _number(matrix.mean_iou),
        "boundary_iou": {str(b.width): _number(b.mean) for b in result.boundary},
        "trimap_mean_iou": {str(t.width): _number(t.matrix.mean_iou) for t in result.trimap},
        "calibration_error": None if calibration is None else _number(calibration.error),
        "classes": {name: _class_document(result, code) for code, name in enumerate(result.names)},
        "confusion": {"rows": "truth", "columns": "map", "counts": matrix.counts.tolist()},
        "notes": list(result.notes),
    }


def _class_document(result: Evaluation, code: int) -> dict[str, Any]:
    scores = result.confusion.of_class(code)
    return {
        "iou": _number(scores.iou),
        "dice": _number(scores.dice),
        "precision": _number(scores.precision),
        "recall": _number(scores.recall),
        "truth_pixels": scores.truth_pixels,
        "mapped_pixels": scores.mapped_pixels,
        "boundary_iou": {str(b.width): _number(b.of_class(code)) for b in result.boundary},
    }


def _check_names(truth: TruthSettings, names: Sequence[str]) -> None:
    wanted = [*truth.class_values.values(), *([truth.unlabelled] if truth.unlabelled else [])]
    for name in wanted:
        if name not in names:
            msg = f"the truth is said to have the class {name!r}; the map has {', '.join(names)}"
            raise UsageError(msg)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _write(out: Path, document: Mapping[str, Any], result: Evaluation | None) -> None:
    try:
        make_folder(out)
        with held_folder(out / LOCK_FOLDER, out):  # two would mix their files
            write_whole(out / JSON_FILE, json_text(document) + "\n")
            if result is not None:
                save_confusion(out / PICTURE_FILE, result.confusion, result.names)
    except OSError as error:
        msg = f"{out} cannot be written: {error.strerror}"
        raise OutputError(msg) from error
