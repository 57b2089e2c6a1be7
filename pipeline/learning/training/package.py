"""The manifest of the model package that a training writes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.learning.data.scenes import LabelledScene
from segment_tiles.pipeline.learning.data.survey import BandStatistics
from segment_tiles.pipeline.learning.scores.confusion import ConfusionMatrix
from segment_tiles.pipeline.learning.setting_types import first_scaling
from segment_tiles.pipeline.learning.settings import NetworkSettings, TrainingSettings
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.scaling.scaling import Scaling, z_score


def architecture_of(network: NetworkSettings, window: int) -> Architecture:
    """Return the architecture; a pooling window that is not given is the training window in features."""
    pooling_window = network.image_pooling_window
    if network.image_pooling == "window" and pooling_window is None:
        # odd, so that the window has a centre: (crop - 1) / stride + 1 of the TensorFlow code, rounded up
        pooling_window = window // network.output_stride | 1
    return Architecture(
        arch=network.arch,
        backbone=network.backbone,
        output_stride=network.output_stride,
        atrous_rates=network.atrous_rates,
        image_pooling=network.image_pooling,
        image_pooling_window=pooling_window if network.image_pooling == "window" else None,
        align_corners=network.align_corners,
        details=dict(network.details),
    )


def trained_manifest(
    settings: TrainingSettings, scene: LabelledScene, statistics: BandStatistics, extra: Mapping[str, Any]
) -> ModelManifest:
    """Return the manifest of a network that was trained on scenes like ``scene``."""
    spec = scene.source.spec
    names = spec.band_names if len(spec.band_names) == spec.bands and all(spec.band_names) else ()
    if not names:
        rgb = ("red", "green", "blue")
        names = rgb if spec.bands == 3 else tuple(f"band-{i}" for i in range(1, spec.bands + 1))
    return ModelManifest(
        name=settings.name,
        architecture=architecture_of(settings.network, settings.window),
        bands=tuple(names),
        dtype=spec.dtype,
        scaling=_scaling(settings, statistics),
        tile=settings.tile or settings.window,
        overlap=settings.overlap,
        classes=class_table(settings),
        pixel_size=settings.pixel_size,
        pixel_unit=settings.pixel_unit,
        description=settings.description,
        extra=extra,
    )


def _scaling(settings: TrainingSettings, statistics: BandStatistics) -> Scaling:
    """Return what is done to values first, if anything, and then the z-score of all training scenes."""
    try:
        scaling = z_score(statistics.mean, statistics.std)
    except ValueError as error:
        what = "a band of the training scenes has next to one value; leave it out by bands"
        msg = f"model {settings.name}: {error}: {what}"
        raise ModelError(msg) from error
    if not settings.scaling:
        return scaling
    first = first_scaling(settings.scaling).chains[0]
    return Scaling(tuple((*first, *chain) for chain in scaling.chains))


def class_table(settings: TrainingSettings) -> ClassTable:
    """Return the classes in the order of the configuration, and how some of them become objects."""
    classes = tuple(MapClass(code, c.name, c.color) for code, c in enumerate(settings.classes))
    asked = (settings.borders, settings.sheaths)
    return ClassTable(classes, tuple(entry.rule for entry in asked if entry is not None))


def score_summary(matrix: ConfusionMatrix, table: ClassTable) -> dict[str, Any]:
    """Return scores as a manifest holds them: rounded to four decimals, None if one is not defined."""
    summary: dict[str, Any] = {"mean_iou": _rounded(matrix.mean_iou), "pixels": matrix.pixels}
    for entry in table.classes:
        scores = matrix.of_class(entry.code)
        summary[entry.name] = {
            "iou": _rounded(scores.iou),
            "dice": _rounded(scores.dice),
            "precision": _rounded(scores.precision),
            "recall": _rounded(scores.recall),
        }
    return summary


def _rounded(score: float) -> float | None:
    """Return a score as JSON has it: there is no NaN in JSON, and null for what is not defined."""
    return None if math.isnan(score) else round(score, 4)
