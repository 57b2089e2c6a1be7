"""A class map against the truth, window by window, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.labels import LabelReader
from segment_tiles.pipeline.learning.scores.boundaries import BoundaryIou, TrimapScores, largest_width
from segment_tiles.pipeline.learning.scores.calibration import Calibration
from segment_tiles.pipeline.learning.scores.confusion import ConfusionMatrix
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.sources.validity import for_bands
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRaster, ClassRasterSpec

WINDOW_SIDE = 1024
"""Pixels of a window that is scored at once, plus its surroundings."""


OVERLAP: Final = "classes of the map may overlap: its highest class is scored of each pixel, not their masks"
"""Note on the scores of such a map."""


@dataclass(frozen=True, slots=True)
class EvaluatedClasses:
    """The classes of an evaluation: their codes in the map, and their names."""

    codes: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(slots=True)
class Evaluation:
    """Everything that is counted."""

    names: tuple[str, ...]
    confusion: ConfusionMatrix
    boundary: list[BoundaryIou]
    trimap: list[TrimapScores]
    calibration: Calibration | None
    truth_without_class: int = 0
    """Pixels that have a true class, but none in the map."""
    notes: tuple[str, ...] = field(default_factory=tuple)


def grid_of(spec: ClassRasterSpec) -> RasterSpec:
    """Return the grid of a class map, on which the truth is read."""
    return RasterSpec(1, spec.height, spec.width, spec.dtype, spec.georef, for_bands(spec.nodata, 1))


def evaluated_classes(spec: ClassRasterSpec, names: Sequence[str] | None) -> EvaluatedClasses:
    """Return the classes that the map names, or those that the user names in the order of codes 0, 1, 2.

    Raises
    ------
    TrainingError
        Neither does, or there are more classes than a byte holds.
    """
    known = tuple(names) if names else tuple(c.name for c in spec.classes)
    twice = next((name for name in known if known.count(name) > 1), None)
    if twice is not None:
        msg = (
            f"two codes of the class map are called {twice!r}, and scores are told by name; name all classes in the "
            "order of their codes by --classes NAME,NAME"
        )
        raise TrainingError(msg)
    if names:
        return EvaluatedClasses(tuple(range(len(names))), tuple(names))
    if not spec.classes:
        msg = "the class map names no classes; name them in the order of their codes by --classes NAME,NAME"
        raise TrainingError(msg)
    if len(spec.classes) >= IGNORE_CODE:
        msg = f"the class map has {len(spec.classes)} classes; up to {IGNORE_CODE - 1} can be evaluated"
        raise TrainingError(msg)
    return EvaluatedClasses(tuple(c.code for c in spec.classes), tuple(c.name for c in spec.classes))


def evaluate_map(
    class_map: ClassRaster,
    truth: LabelReader,
    classes: EvaluatedClasses,
    *,
    boundary_widths: Sequence[int],
    trimap_widths: Sequence[int],
) -> Evaluation:
    """Compare a class map with the truth on its grid.

    ::

        +-------------------+
        |  surroundings     |   read with the largest width more on every side,
        |   +-----------+   |   so that a window is scored as if it were not cut out
        |   |  counted  |   |
        |   +-----------+   |
        +-------------------+

    Raises
    ------
    TrainingError
        The map has a code that is not named, or no pixel has both a class and a true class.
    """
    count = len(classes.names)
    result = Evaluation(
        classes.names,
        ConfusionMatrix(count),
        [BoundaryIou(count, width) for width in boundary_widths],
        [TrimapScores(count, width) for width in trimap_widths],
        Calibration() if class_map.spec.has_confidence else None,
        notes=(*class_map.spec.notes, *truth.notes, *([OVERLAP] if class_map.spec.masks else [])),
    )
    halo = largest_width([*boundary_widths, *trimap_widths])
    for core in class_map.spec.window.parts(WINDOW_SIDE, WINDOW_SIDE):
        _count_window(class_map, truth, classes, result, core, halo)
    if not result.confusion.pixels:
        msg = "no pixel has both a class in the map and a true class; do map and truth overlap?"
        raise TrainingError(msg)
    return result


def _count_window(
    class_map: ClassRaster,
    truth: LabelReader,
    classes: EvaluatedClasses,
    result: Evaluation,
    core: Window,
    halo: int,
) -> None:
    window = core.grow(halo).intersect(class_map.spec.window)
    true_codes = truth.read(window)
    if (true_codes == IGNORE_CODE).all():
        return
    mapped = _positions(class_map.read(window), class_map.spec.nodata, classes)
    inside = core.relative_to(window).slices()
    known = (true_codes != IGNORE_CODE) & (mapped != IGNORE_CODE)
    result.truth_without_class += int(((true_codes != IGNORE_CODE) & (mapped == IGNORE_CODE))[inside].sum())
    result.confusion.add(true_codes[inside], mapped[inside])
    truth_tensor, map_tensor = torch.from_numpy(true_codes), torch.from_numpy(mapped)
    known_tensor = torch.from_numpy(known)
    scores: list[BoundaryIou | TrimapScores] = [*result.boundary, *result.trimap]
    for score in scores:
        score.add(truth_tensor, map_tensor, known_tensor, inside)
    if result.calibration is not None:
        confidence = class_map.read_confidence(core)
        here = known[inside]
        result.calibration.add(confidence[here], (true_codes == mapped)[inside][here])


def _positions(
    codes: NDArray[np.integer], nodata: int | None, classes: EvaluatedClasses
) -> NDArray[np.uint8]:
    """Return the index of each code among the classes; ``IGNORE_CODE`` for nodata."""
    positions = np.full(codes.shape, IGNORE_CODE, dtype=np.uint8)
    for code in np.unique(codes).tolist():
        if code == nodata:
            continue
        if code not in classes.codes:
            msg = (
                f"the class map has the code {code}; named are the codes "
                f"{', '.join(map(str, classes.codes))}: name all classes by --classes NAME,NAME"
            )
            raise TrainingError(msg)
        positions[codes == code] = classes.codes.index(code)
    return positions
