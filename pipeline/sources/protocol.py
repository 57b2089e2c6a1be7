"""Source: what the engine asks of anything that it can segment."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window


@runtime_checkable
class KnowsHoles(Protocol):
    """A Source that can tell without decoding where it has no data."""

    def is_surely_empty(self, window: Window) -> bool:
        """Return True only if every pixel of a window is missing; False says nothing."""
        ...


@runtime_checkable
class TellsBands(Protocol):
    """A Source that knows of single bands what they lack, where others have values."""

    def missing(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which values of a window are missing: bands x rows x columns; None if none is.

        ``values`` is what ``read`` returned for the same window.
        """
        ...

    def thumbnail_of_bands(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
        """Return what ``thumbnail`` does, and which values are missing: bands x rows x columns; None if none is."""
        ...


@runtime_checkable
class ReadsInto(Protocol):
    """A Source that can put values where they are wanted, without a copy of its own."""

    def read_into(self, window: Window, out: NDArray[Any]) -> None:
        """Put what ``read`` returns for a window into ``out``, of the same shape and type; it may be strided.

        Raises
        ------
        ReadFailedError
            If the source stops answering, after retries.
        """
        ...


class Source(Protocol):
    """An open raster, read window by window.

    One handle serves one thread at a time and is never pickled: every worker opens its own. Reading
    the same window twice gives the same values.
    """

    spec: RasterSpec
    """Shape, type and position of what ``read`` returns."""

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window inside the raster: bands x rows x columns, native type.

        Raises
        ------
        ReadFailedError
            If the source stops answering, after retries.
        """
        ...

    def valid(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which pixels of a window hold data: rows x columns; None if all do.

        ``values`` is what ``read`` returned for the same window, so that nothing is read twice.
        """
        ...

    def thumbnail(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window decimated to ``shape`` by the nearest pixel, from an overview if there is one.

        Values are bands x rows x columns; the mask is rows x columns, or None if all hold data.
        """
        ...

    def close(self) -> None:
        """Release the handle."""
        ...


def notes_of(source: object) -> tuple[str, ...]:
    """Return what the user should know of a source before trusting a map of it, if it has ``notes``: a line for each.

    A property, which `isinstance` with a protocol would ask for once more.
    """
    notes: tuple[str, ...] = getattr(source, "notes", ())
    return notes


def read_into(source: Source, window: Window, out: NDArray[Any]) -> None:
    """Put the values of a window into ``out``: without a copy if the source can."""
    if isinstance(source, ReadsInto):
        source.read_into(window, out)
    else:
        out[:] = source.read(window)


def reductions_of(source: object) -> tuple[float, ...]:
    """Return how many times fewer rows the overviews of a source have, in any order, if it has ``reductions``."""
    reductions: tuple[float, ...] = getattr(source, "reductions", ())
    return reductions
