"""Pixels of objects and of pairs of objects, counted window by window; what is held grows with objects, not pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

ROWS_AT_MOST: Final = 1_000_000
"""Rows that wait to be added up."""
ClassesOf = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Numbers of objects -> class of each."""


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Objects of truth and map, and how much each pair that overlaps shares."""

    truth_areas: NDArray[np.float64]
    """Of each true object."""
    map_areas: NDArray[np.float64]
    """Of each mapped object."""
    truth_classes: NDArray[np.int64]
    map_classes: NDArray[np.int64]
    truth_index: NDArray[np.int64]
    """True object of each pair that shares something, in rising order."""
    map_index: NDArray[np.int64]
    """Mapped object of the pair, in rising order for one true object."""
    shared: NDArray[np.float64]
    """Area that the pair shares."""
    void_areas: NDArray[np.float64]
    """Of each mapped object: what lies where the truth is not known, and is not in ``map_areas``."""
    twice: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    """Classes x 3: area that is counted more than once because objects of one side overlap, of truth and map and of
    what they share; classes that have no row have none."""

    def of_class(self, code: int) -> Overlaps:
        """Return the objects of one class; an object is compared with those of its class alone."""
        ours, theirs = self.truth_classes == code, self.map_classes == code
        pairs = ours[self.truth_index] & theirs[self.map_index]
        return Overlaps(
            self.truth_areas[ours],
            self.map_areas[theirs],
            self.truth_classes[ours],
            self.map_classes[theirs],
            (np.cumsum(ours) - 1)[self.truth_index[pairs]],
            (np.cumsum(theirs) - 1)[self.map_index[pairs]],
            self.shared[pairs],
            self.void_areas[theirs],
            self.twice[code : code + 1],
        )

    @property
    def unions(self) -> NDArray[np.float64]:
        """Area of the union of each pair."""
        return self.truth_areas[self.truth_index] + self.map_areas[self.map_index] - self.shared

    @property
    def mostly_void(self) -> NDArray[np.bool_]:
        """Which mapped objects lie by more than half where the truth is not known."""
        return self.void_areas > self.map_areas


class OverlapCounter:
    """Adds up pixels of objects and pairs over windows that share no pixel."""

    def __init__(self) -> None:
        self._truth, self._map, self._pairs = _SumByKey(1), _SumByKey(1), _SumByKey(2)
        self._void = _SumByKey(1)
        self._twice = np.zeros((0, 3))

    def add(
        self,
        truth: Sequence[NDArray[np.int64]],
        mapped: Sequence[NDArray[np.int64]],
        known: NDArray[np.bool_] | None,
        classes_of: tuple[ClassesOf, ClassesOf] | None = None,
    ) -> None:
        """Count a window.

        Parameters
        ----------
        truth, mapped
            Numbers of objects, rows x columns, 0: none. Objects that overlap others of their side are in layers of
            their own.
        known
            Pixels whose truth is known; None: all.
        classes_of
            Of true and mapped objects; needed if a side has several layers.
        """
        for layers, sums in ((truth, self._truth), (mapped, self._map)):
            for layer in layers:
                sums.add(layer[_objects(layer, known)])
        if known is not None:
            for layer in mapped:
                in_void = layer[(layer > 0) & ~known]
                self._void.add(in_void)
                self._map.add_none(np.unique(in_void))
        if classes_of is not None and (len(truth) > 1 or len(mapped) > 1):
            self._add_twice([truth, mapped], known, classes_of)
        for ours in truth:
            here = _objects(ours, known)
            if not here.any():
                continue
            for theirs in mapped:
                both = here & (theirs > 0)
                self._pairs.add(ours[both], theirs[both])

    def _add_twice(
        self,
        sides: Sequence[Sequence[NDArray[np.int64]]],
        known: NDArray[np.bool_] | None,
        classes_of: tuple[ClassesOf, ClassesOf],
    ) -> None:
        """Count, for each class, the pixels that several layers of a side have, and pairs of layers that share one."""
        often: list[dict[int, NDArray[np.int64]]] = [{}, {}]
        for layers, classes, counts in zip(sides, classes_of, often, strict=True):
            for layer in layers:
                here = _objects(layer, known)
                codes = classes(layer[here])
                for code in np.unique(codes).tolist():
                    of_class = counts.setdefault(code, np.zeros(layer.shape, dtype=np.int64))
                    of_class[here] += codes == code
        for code in often[0].keys() | often[1].keys():
            if code >= len(self._twice):
                self._twice = np.pad(self._twice, ((0, code + 1 - len(self._twice)), (0, 0)))
            ours, theirs = (counts.get(code, np.zeros((), dtype=np.int64)) for counts in often)
            for column, count in enumerate((ours, theirs, ours * theirs)):
                self._twice[code, column] += (count - (count > 0)).sum()

    def add_empty(self, truth: NDArray[np.int64], mapped: NDArray[np.int64]) -> None:
        """Count objects that cover no pixel."""
        self._truth.add_none(truth)
        self._map.add_none(mapped)

    def numbers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of all objects of truth and map, in rising order."""
        return self._truth.total()[0][0], self._map.total()[0][0]

    def overlaps(self, truth_classes: NDArray[np.int64], map_classes: NDArray[np.int64]) -> Overlaps:
        """Return what was counted; classes are those of `numbers`."""
        (truth,), truth_areas = self._truth.total()
        (mapped,), map_areas = self._map.total()
        (ours, theirs), shared = self._pairs.total()
        (in_void,), void = self._void.total()
        void_areas = np.zeros(len(mapped))
        void_areas[np.searchsorted(mapped, in_void)] = void
        return Overlaps(
            truth_areas.astype(np.float64),
            map_areas.astype(np.float64),
            truth_classes,
            map_classes,
            np.searchsorted(truth, ours),
            np.searchsorted(mapped, theirs),
            shared.astype(np.float64),
            void_areas,
            self._twice,
        )


def _objects(layer: NDArray[np.int64], known: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return layer > 0 if known is None else (layer > 0) & known


class _SumByKey:
    """Counts how often each key of one or two numbers comes."""

    def __init__(self, columns: int) -> None:
        self._keys = [np.empty((columns, 0), dtype=np.int64)]
        self._counts = [np.empty(0, dtype=np.int64)]
        self._waiting = 0

    def add(self, *columns: NDArray[np.int64]) -> None:
        """Count keys, one for each pixel."""
        if not len(columns[0]):
            return
        self._append(*_added_up(np.stack(columns), np.ones(len(columns[0]), dtype=np.int64)))

    def add_none(self, keys: NDArray[np.int64]) -> None:
        """Make sure that keys of one number are there, if only with a count of 0."""
        if len(keys):
            self._append(keys[None], np.zeros(len(keys), dtype=np.int64))

    def _append(self, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        self._keys.append(keys)
        self._counts.append(counts)
        self._waiting += len(counts)
        if self._waiting > ROWS_AT_MOST:
            self.total()

    def total(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return keys (columns x n) in rising order, and their counts."""
        if len(self._keys) > 1:
            keys, counts = _added_up(np.concatenate(self._keys, axis=1), np.concatenate(self._counts))
            self._keys, self._counts, self._waiting = [keys], [counts], 0
        return self._keys[0], self._counts[0]


def _added_up(
    keys: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each key once, in rising order of the first number, then of the second, and the sum of its counts."""
    if not len(counts):
        return keys, counts
    order = np.lexsort(keys[::-1])
    keys, counts = keys[:, order], counts[order]
    first = np.flatnonzero(np.append(True, (keys[:, 1:] != keys[:, :-1]).any(axis=0)))
    return keys[:, first], np.add.reduceat(counts, first)
