"""Counts of objects that can be added up over scenes, and the scores that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.learning.scores.objects.counts import Overlaps
from segment_tiles.pipeline.learning.scores.objects.matching import matched_pairs

PERCENTS: Final = tuple(range(50, 100, 5))
"""IoU from which on an object counts as found, in percent: those of COCO and of the 2018 Data Science Bowl."""


@dataclass(frozen=True, slots=True)
class ObjectTotals:
    """What was counted of the objects of one class."""

    true: int = 0
    """True objects."""
    mapped: tuple[int, ...] = (0,) * len(PERCENTS)
    """Mapped objects, at each of `PERCENTS` without those that have no partner and lie mostly in void."""
    found: tuple[int, ...] = (0,) * len(PERCENTS)
    """True objects with a mapped one of their own, at each of `PERCENTS`."""
    segments: int = 0
    """Pairs with an IoU above one half: the matches of panoptic quality."""
    segment_iou: float = 0.0
    """Sum of their IoU."""
    segments_mapped: int = 0
    """Mapped objects without those that are in no such pair and lie mostly in void."""
    joined_shared: float = 0.0
    """Area that true objects share with the mapped one that fits them best (AJI)."""
    joined_union: float = 0.0
    """Area of their unions, and of all objects that are in no such pair."""
    truth_area: float = 0.0
    """Of all true objects together; where two overlap it counts once."""
    map_area: float = 0.0
    """Of all mapped objects together."""
    shared_area: float = 0.0
    """Of true and mapped objects, whichever."""

    @property
    def is_apart(self) -> bool:
        """Whether there are true objects and mapped ones, and none meets another."""
        return bool(self.true and max(self.mapped) and not self.shared_area)

    @classmethod
    def of(cls, overlaps: Overlaps) -> ObjectTotals:
        """Count the objects of one class in one scene."""
        segments = matched_pairs(overlaps, 50, above=True)
        found = [matched_pairs(overlaps, percent) for percent in PERCENTS]
        shared, union = _joined(overlaps)
        twice = overlaps.twice.sum(axis=0)
        return cls(
            len(overlaps.truth_areas),
            tuple(_that_count(overlaps, pairs) for pairs in found),
            tuple(len(pairs) for pairs in found),
            len(segments),
            float((overlaps.shared[segments] / overlaps.unions[segments]).sum()),
            _that_count(overlaps, segments),
            shared,
            union,
            float(overlaps.truth_areas.sum() - twice[0]),
            float(overlaps.map_areas.sum() - twice[1]),
            float(overlaps.shared.sum() - twice[2]),
        )

    def __add__(self, other: ObjectTotals) -> ObjectTotals:
        """Return the counts of both."""
        return ObjectTotals(
            self.true + other.true,
            tuple(a + b for a, b in zip(self.mapped, other.mapped, strict=True)),
            tuple(a + b for a, b in zip(self.found, other.found, strict=True)),
            self.segments + other.segments,
            self.segment_iou + other.segment_iou,
            self.segments_mapped + other.segments_mapped,
            self.joined_shared + other.joined_shared,
            self.joined_union + other.joined_union,
            self.truth_area + other.truth_area,
            self.map_area + other.map_area,
            self.shared_area + other.shared_area,
        )

    @property
    def precision(self) -> float:
        """Share of mapped objects that are one, at IoU 0.5; NaN without any."""
        return _ratio(self.found[0], self.mapped[0])

    @property
    def recall(self) -> float:
        """Share of true objects that are found, at IoU 0.5; NaN without any."""
        return _ratio(self.found[0], self.true)

    @property
    def f1(self) -> tuple[float, ...]:
        """2 TP / (2 TP + FP + FN) at each of `PERCENTS`; NaN without any object."""
        return tuple(
            _ratio(2 * found, self.true + mapped)
            for found, mapped in zip(self.found, self.mapped, strict=True)
        )

    @property
    def mean_f1(self) -> float:
        """Mean of F1 over `PERCENTS`."""
        return float(np.mean(self.f1))

    @property
    def segmentation_quality(self) -> float:
        """Mean IoU of matches (SQ of 1801.00868); NaN without a match."""
        return _ratio(self.segment_iou, self.segments)

    @property
    def recognition_quality(self) -> float:
        """F1 of matches above IoU 0.5 (RQ of 1801.00868); NaN without any object."""
        return _ratio(2 * self.segments, self.true + self.segments_mapped)

    @property
    def panoptic_quality(self) -> float:
        """Sum of IoU over TP + FP / 2 + FN / 2 (PQ of 1801.00868); NaN without any object."""
        return _ratio(2 * self.segment_iou, self.true + self.segments_mapped)

    @property
    def aggregated_jaccard(self) -> float:
        """Aggregated Jaccard index (Kumar 2017, doi:10.1109/TMI.2017.2677499); NaN without any object."""
        return _ratio(self.joined_shared, self.joined_union)

    @property
    def dice(self) -> float:
        """Dice of all that is an object, whichever; NaN without any object."""
        return _ratio(2 * self.shared_area, self.truth_area + self.map_area)

    @property
    def count_error(self) -> int:
        """Mapped objects more than true ones."""
        return self.mapped[0] - self.true


def _that_count(overlaps: Overlaps, pairs: NDArray[np.int64]) -> int:
    """Return how many mapped objects count if these pairs are matches: those mostly in void need a partner."""
    spared = overlaps.mostly_void.copy()
    spared[overlaps.map_index[pairs]] = False
    return int((~spared).sum())


def _joined(overlaps: Overlaps) -> tuple[float, float]:
    """Return the two sums of AJI: each true object with the mapped one of the highest IoU, which may be taken twice."""
    iou = overlaps.shared / overlaps.unions
    # the pairs of a true object follow one another; of equal ones the first counts
    order = np.lexsort((-iou, overlaps.truth_index))
    best = order[np.unique(overlaps.truth_index[order], return_index=True)[1]]
    alone = np.delete(overlaps.truth_areas, overlaps.truth_index[best])
    unused = np.delete(overlaps.map_areas, np.unique(overlaps.map_index[best]))
    shared = float(overlaps.shared[best].sum())
    return shared, float(overlaps.unions[best].sum() + alone.sum() + unused.sum())


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
