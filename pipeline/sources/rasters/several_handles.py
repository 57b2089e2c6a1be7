"""One raster read by several handles at once: decoding in as many threads, each in a part of its own.

::

    window of a band      chunks    0       1       2       3
                                |-------|-------|-------|-------|
                                   handle 0     |    handle 1         parts end at edges of chunks,
                                                                      so that no chunk is decoded twice
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.of_bands import missing_of, thumbnail_of_bands
from segment_tiles.pipeline.sources.protocol import KnowsHoles, Source, read_into
from segment_tiles.pipeline.sources.window_parts import parts_of


class SeveralHandles:
    """A Source made of several handles of the same raster; the values do not depend on how many.

    Parameters
    ----------
    handles
        Sources that were opened alike, two or more.
    """

    def __init__(self, handles: Sequence[Source]) -> None:
        self._handles = handles
        self.spec: RasterSpec = handles[0].spec
        self._pool = ContextPool(len(handles), thread_name_prefix="decode")

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window: bands x rows x columns, native type.

        Raises
        ------
        ReadFailedError
            If a part cannot be read, after retries.
        """
        values = np.empty((self.spec.bands, *window.shape), dtype=self.spec.dtype)
        self.read_into(window, values)
        return values

    def read_into(self, window: Window, out: NDArray[Any]) -> None:
        """Put the values of a window into ``out``, each handle its part."""

        def read_part(handle: Source, part: Window) -> None:
            read_into(handle, part, out[(slice(None), *part.relative_to(window).slices())])

        self._in_parts(window, read_part)

    def valid(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which pixels of a window hold data: rows x columns; None if all do."""
        mask = np.ones(window.shape, dtype=bool)

        def read_part(handle: Source, part: Window) -> None:
            box = part.relative_to(window).slices()
            found = handle.valid(part, values[(slice(None), *box)])
            if found is not None:
                mask[box] = found

        self._in_parts(window, read_part)
        return None if mask.all() else mask

    def missing(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which values of a window are missing: bands x rows x columns; None if none is."""
        parts: list[tuple[tuple[slice, ...], NDArray[np.bool_]]] = []

        def read_part(handle: Source, part: Window) -> None:
            box = (slice(None), *part.relative_to(window).slices())
            found = missing_of(handle, part, values[box])
            if found is not None:
                parts.append((box, found))

        self._in_parts(window, read_part)
        if not parts:
            return None
        lacking = np.zeros(values.shape, dtype=bool)
        for box, found in parts:
            lacking[box] = found
        return lacking

    def is_surely_empty(self, window: Window) -> bool:
        """Return whether the first handle says, without decoding, that a window holds no data."""
        first = self._handles[0]
        return isinstance(first, KnowsHoles) and first.is_surely_empty(window)

    def thumbnail(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window decimated to ``shape``, by the first handle."""
        return self._handles[0].thumbnail(window, shape)

    def thumbnail_of_bands(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
        """Return what ``thumbnail`` does, and which values are missing."""
        return thumbnail_of_bands(self._handles[0], window, shape)

    def close(self) -> None:
        """Release all handles."""
        self._pool.shutdown()
        for handle in self._handles:
            handle.close()

    def _in_parts(self, window: Window, work: Callable[[Source, Window], None]) -> None:
        """Do each part with a handle of its own; if one fails, the others come to their end first."""
        parts = parts_of(window, self.spec.chunk, len(self._handles))
        waiting = [
            self._pool.submit(work, handle, part) for handle, part in zip(self._handles, parts, strict=False)
        ]
        wait(waiting)
        for part in waiting:
            part.result()
