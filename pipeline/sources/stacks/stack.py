"""A stack as a Source: bands of several files on one grid, each read by its own reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.accepted import NodataRule
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.protocol import notes_of, reductions_of
from segment_tiles.pipeline.sources.stacks.description import StackDescription
from segment_tiles.pipeline.sources.stacks.details import (
    other_units,
    part_notes,
    spec_of,
    stack_details,
    unhidden_note,
)
from segment_tiles.pipeline.sources.stacks.members import (
    Files,
    Opened,
    bands_of,
    chosen_bands,
    grid_of,
    opened_parts,
)
from segment_tiles.pipeline.sources.stacks.part import Part, Read
from segment_tiles.pipeline.sources.validity import marked, may_be_a_value, stand_in

Filled = list[NDArray[np.bool_] | None]
"""Of each band the pixels that hold data, rows x columns; None if all do."""


class Gathered(NamedTuple):
    """What is known of values that were put together."""

    filled: Filled
    """By the marks and masks of the files."""
    values_too: dict[int, NDArray[np.bool_]]
    """By position of a band: pixels with its nodata value, if that may as well be a value, as `marked` has it."""


class StackSource:
    """Bands of several files on one grid.

    A pixel of a file whose centre lies outside, or on a missing pixel, is missing in its bands; of several files of
    one band later ones lie on top.

    Parameters
    ----------
    description
        What the stack is made of.
    opened
        Opens its files.
    bands
        1-based, in the order wanted; None for all.
    nodata_rule
        Whether a pixel is missing where ``all`` or ``any`` of the bands are, over all files.
    level
        Of the files on the grid; the others are brought onto it from full resolution.

    Raises
    ------
    SourceError
        If a file cannot be opened, or cannot be brought onto the grid; the text names it.
    UsageError
        If a band is asked for that the stack does not have, or no member is called as its grid.
    """

    def __init__(
        self,
        description: StackDescription,
        opened: Opened,
        *,
        bands: Sequence[int] | None = None,
        nodata_rule: NodataRule = "all",
        level: int = 0,
    ) -> None:
        if level and any(len(member.files) > 1 for member in description.members):
            msg = f"--level is {level}, but bands of the stack lie in several files each; leave it out"
            raise UsageError(msg)
        self._rule = nodata_rule
        self._read: tuple[Window, Gathered] | None = None
        with ExitStack() as stack:
            files = Files(description, opened, stack)
            self.bands = bands_of(description, files.specs)
            numbers = chosen_bands(bands, len(self.bands))
            grid, read = grid_of(description, files, level)
            self.parts = opened_parts([self.bands[n - 1] for n in numbers], grid, read, level, files)
            self.spec = spec_of([self.bands[n - 1] for n in numbers], numbers, read, self.parts)
            self._other_units = other_units([self.bands[n - 1] for n in numbers], self.parts)
            stack.pop_all()
        # files of one band are read alone, each by its own mark: what one marks may be a value of another
        layered = {position for part in self.parts if part.is_layered for position in part.positions}
        marks = enumerate(self.spec.nodata)
        self._marks = tuple(None if position in layered else mark for position, mark in marks)
        self.grid_of = grid.of
        """File whose grid it is."""

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window: bands x rows x columns, of the type that holds those of all members."""
        out = np.empty((self.spec.bands, *window.shape), self.spec.dtype)
        self.read_into(window, out)
        return out

    def read_into(self, window: Window, out: NDArray[Any]) -> None:
        """Put the values of a window into ``out``."""
        self._read = window, self._gathered(window, window.shape, out, lambda part, inside: part.read(inside))

    def valid(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which pixels hold data, as found by the last ``read`` of this window."""
        if self._read is None or self._read[0] != window:
            self.read(window)
        assert self._read is not None  # just read
        return _combined(self._read[1].filled, self._rule)

    def missing(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which values are missing: bands x rows x columns; what no file of the band has, or it marks."""
        if self._read is None or self._read[0] != window:
            self.read(window)
        assert self._read is not None  # just read
        return self._missing(values, self._read[1])

    def is_surely_empty(self, window: Window) -> bool:
        """Return whether the members say, without decoding, that a window holds no data."""
        empty = (part.is_surely_empty(window) for part in self.parts)
        if self._rule == "all" or self._has_layers:
            return not window.is_empty and all(empty)
        return any(empty)

    def thumbnail(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window decimated to ``shape``, each member from its overviews if it has some."""
        values, gathered = self._decimated(window, shape)
        return values, _combined(gathered.filled, self._rule)

    def thumbnail_of_bands(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
        """Return what ``thumbnail`` does, and which values are missing."""
        values, gathered = self._decimated(window, shape)
        return values, _combined(gathered.filled, self._rule), self._missing(values, gathered)

    def _decimated(self, window: Window, shape: tuple[int, int]) -> tuple[NDArray[Any], Gathered]:
        out = np.empty((self.spec.bands, *shape), self.spec.dtype)
        scale = [small / side for small, side in zip(shape, window.shape, strict=True)]

        def decimated(part: Part, inside: Window) -> Read:
            there = _scaled(inside.relative_to(window), scale)
            return part.thumbnail(inside, there.shape)

        return out, self._gathered(window, shape, out, decimated)

    def _missing(self, values: NDArray[Any], gathered: Gathered) -> NDArray[np.bool_] | None:
        """Return which values are missing: what no file of the band has, or it marks."""
        of_marks = marked(values, self._marks)
        if all(held is None for held in gathered.filled):
            return of_marks
        lacking = np.zeros(values.shape, bool) if of_marks is None else of_marks
        for band, held in enumerate(gathered.filled):
            if held is not None:
                seen = gathered.values_too.get(band)
                lacking[band] |= ~held if seen is None else ~(held | seen)
        return lacking

    @property
    def reductions(self) -> tuple[float, ...]:
        """How many times fewer rows the overviews of the files on the grid have, if they have the same."""
        own = {reductions_of(part.source) for part in self.parts if part.at.is_same}
        return own.pop() if len(own) == 1 and not self._has_layers else ()

    @property
    def details(self) -> dict[str, Any]:
        """What ``info`` tells of this stack beyond its spec."""
        return stack_details(self.parts, self.spec, self.grid_of)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the members say that the user should know, and how they were brought onto the grid."""
        of_files = (note for part in self.parts for note in notes_of(part.source))
        own = part_notes(self.parts, self.spec, self.grid_of)
        if self._rule == "all":
            own += unhidden_note(self.parts, self.spec)
        return tuple(dict.fromkeys([*self._other_units, *own, *of_files]))

    def close(self) -> None:
        """Release all files."""
        for part in self.parts:
            part.source.close()

    @property
    def _has_layers(self) -> bool:
        """Whether a band is read from several files."""
        return sum(len(part.positions) for part in self.parts) > self.spec.bands

    def _gathered(
        self,
        window: Window,
        shape: tuple[int, int],
        out: NDArray[Any],
        read: Callable[[Part, Window], Read],
    ) -> Gathered:
        """Fill ``out`` from all parts; return which pixels hold data, band by band."""
        filled: Filled = [np.zeros(shape, bool) for _ in range(self.spec.bands)]
        values_too: dict[int, NDArray[np.bool_]] = {}
        marks = self.spec.nodata or (None,) * self.spec.bands
        for band, mark in zip(out, marks, strict=True):
            band[:] = 0 if mark is None else stand_in(mark, out.dtype)
        scale = [small / side for small, side in zip(shape, window.shape, strict=True)]
        for part in self.parts:
            inside = part.covered(window)
            if inside.is_empty:
                continue
            values, valid = read(part, inside)
            box = _scaled(inside.relative_to(window), scale)
            is_whole = valid is None and box.shape == tuple(shape)
            for position, band in zip(part.positions, values, strict=True):
                there = out[position][box.slices()]
                held = filled[position]
                # what a file holds under its own mask is seen as of a file alone
                shown = True if valid is None or (part.at.is_same and not part.is_layered) else valid
                np.copyto(there, band, where=shown, casting="unsafe")
                if held is not None:
                    held[box.slices()] |= True if valid is None else valid
                    filled[position] = None if is_whole else held
                value_too = (
                    None if shown is not True or valid is None else may_be_a_value(band, marks[position])
                )
                if value_too is not None:
                    values_too.setdefault(position, np.zeros(shape, bool))[box.slices()] = value_too
        return Gathered(filled, values_too)


def _combined(filled: Filled, rule: NodataRule) -> NDArray[np.bool_] | None:
    """Return the pixels that hold data in any band (rule all), or in all bands (rule any); None if all do."""
    some = [held for held in filled if held is not None]
    if not some or (rule == "all" and len(some) < len(filled)):
        return None
    valid = np.logical_or.reduce(some) if rule == "all" else np.logical_and.reduce(some)
    return None if valid.all() else np.asarray(valid)


def _scaled(window: Window, scale: Sequence[float]) -> Window:
    """Return a window in the pixels of a picture that is smaller by these factors, one pixel at least."""
    top, left = int(window.row * scale[0]), int(window.column * scale[1])
    bottom, right = round(window.row_stop * scale[0]), round(window.column_stop * scale[1])
    return Window.from_edges(top, left, max(bottom, top + 1), max(right, left + 1))
