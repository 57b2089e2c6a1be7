"""A raster on the ground as a Source on pixels of another size, from full resolution or one of its overviews."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.of_bands import Mask, missing_of, thumbnail_of_bands
from segment_tiles.pipeline.sources.protocol import KnowsHoles, Source, notes_of, reductions_of
from segment_tiles.pipeline.sources.resampling.filters import Taps, area_taps, resampled
from segment_tiles.pipeline.sources.resampling.pixel_size import SAME_SIZE, factors

PIECE_BYTES: Final = 8 * 2**20
"""Of the source's values in float32 that are resampled at once."""
COPIES: Final = 6
"""Of a piece that exist together: as it was read, without what is missing, and between the two axes."""
LARGEST_PIECE: Final = 1024
"""Source pixels along a side of a piece, of few bands."""


def level_for(spec: RasterSpec, reductions: tuple[float, ...], metres: float, uri: str) -> int:
    """Return the coarsest overview, from 1, whose pixels are no larger than so many metres; 0: full resolution.

    Parameters
    ----------
    spec
        Of full resolution.
    reductions
        How many times fewer rows the overviews have, in the order of the file: the first is Level 1.
    metres, uri
        As for `factors`.

    Raises
    ------
    UsageError
        As `factors`.
    """
    least = min(factors(spec, metres, uri)) * (1 + SAME_SIZE)
    fine_enough = [(times, level) for level, times in enumerate(reductions, 1) if times <= least]
    return max(fine_enough, default=(1.0, 0))[1]


class ResampledSource:
    """Windows of a raster, each pixel so many metres high and wide on the ground at the raster's centre.

    The grid is anchored at the corner of the raster; its last pixels may reach over the edge.

    Parameters
    ----------
    uri
        Names it in messages.
    opened
        Opens it at a ``level``: 0 is full resolution, and above it are its overviews.
    level
        From which it is resampled.
    metres
        Per pixel.

    Raises
    ------
    SourceError
        If it cannot be opened.
    UsageError
        If it cannot be read at such pixels.
    """

    def __init__(self, uri: str, opened: Callable[..., Source], level: int, metres: float) -> None:
        self._whole = opened(level=0)
        self._read_from = self._whole
        self._read: tuple[Window, Mask | None, Mask | None] | None = None
        try:
            self.downsample = factors(self._whole.spec, metres, uri)
            """Full-resolution pixels in one of this source, down and across."""
            if level:
                self._read_from = opened(level=level)
            whole, base = self._whole.spec, self._read_from.spec
            self._factor, self._piece = _factor(whole, base, self.downsample), _piece(base)
            self.spec = _spec_of(whole, base, self.downsample, self.reductions)
        except BaseException:
            self.close()
            raise

    @property
    def reductions(self) -> tuple[float, ...]:
        """How many times fewer rows the overviews have that are coarser than this."""
        down = self.downsample[0]
        return tuple(times / down for times in reductions_of(self._whole) if times > down)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the raster says that the user should know."""
        return notes_of(self._whole)

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window: bands x rows x columns, native type; of integers rounded means.

        Raises
        ------
        ReadFailedError
            If the raster stops answering, after retries.
        """
        values = np.empty((self.spec.bands, *window.shape), dtype=self.spec.dtype)
        valid = np.ones(window.shape, dtype=bool)
        missing: Mask | None = None
        for piece in self._pieces(window):
            box = piece.relative_to(window).slices()
            values[(slice(None), *box)], held, lacking = self._resampled(piece)
            if held is not None:
                valid[box] = held
            if lacking is not None:
                missing = np.zeros(values.shape, dtype=bool) if missing is None else missing
                missing[(slice(None), *box)] = lacking
        self._read = (window, None if valid.all() else valid, missing)
        return values

    def valid(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which pixels hold data, as found by the last ``read`` of this window: if a part of them does."""
        if self._read is None or self._read[0] != window:
            self.read(window)
        assert self._read is not None  # just read
        return self._read[1]

    def missing(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which values of pixels that hold data are missing, as found by the last ``read`` of this window."""
        self.valid(window, values)
        assert self._read is not None  # just read
        return self._read[2]

    def is_surely_empty(self, window: Window) -> bool:
        """Return whether the raster says, without decoding, that a window holds no data."""
        base = self._read_from
        return isinstance(base, KnowsHoles) and base.is_surely_empty(_box(*self._taps(window)))

    def thumbnail(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window decimated to ``shape`` by the nearest pixel of the raster, or of an overview."""
        return self._whole.thumbnail(self._full(window), shape)

    def thumbnail_of_bands(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], Mask | None, Mask | None]:
        """Return what ``thumbnail`` does, and which values are missing."""
        return thumbnail_of_bands(self._whole, self._full(window), shape)

    def close(self) -> None:
        """Release the raster."""
        self._read_from.close()
        if self._read_from is not self._whole:
            self._whole.close()

    def _full(self, window: Window) -> Window:
        """Return a window in pixels of full resolution."""
        down, across = self.downsample
        full = Window.from_edges(
            math.floor(window.row * down), math.floor(window.column * across),
            math.ceil(window.row_stop * down), math.ceil(window.column_stop * across),
        )  # fmt: skip
        return full.intersect(self._whole.spec.window)

    def _pieces(self, window: Window) -> Iterator[Window]:
        height, width = (max(1, int(self._piece / max(1.0, factor))) for factor in self._factor)
        return window.parts(height, width)

    def _resampled(self, piece: Window) -> tuple[NDArray[Any], Mask | None, Mask | None]:
        rows, columns = self._taps(piece)
        window = _box(rows, columns)
        base = self._read_from
        values = base.read(window)
        return resampled(
            values, base.valid(window, values), rows, columns, missing=missing_of(base, window, values),
            marks=base.spec.nodata, as_gdal=True,
        )  # fmt: skip

    def _taps(self, window: Window) -> tuple[Taps, Taps]:
        base = self._read_from.spec
        return (
            area_taps(window.row, window.row_stop, self._factor[0], base.height),
            area_taps(window.column, window.column_stop, self._factor[1], base.width),
        )


def resampled_spec(spec: RasterSpec, metres: float, uri: str) -> RasterSpec:
    """Return the spec of a raster that is read at so many metres per pixel; the same object if its pixels are so large.

    Raises
    ------
    UsageError
        As `factors`.
    """
    downsample = factors(spec, metres, uri)
    return spec if downsample == (1.0, 1.0) else _spec_of(spec, spec, downsample, ())


def _factor(whole: RasterSpec, base: RasterSpec, downsample: tuple[float, float]) -> tuple[float, float]:
    """Return pixels of what is read in one of the result: of an overview of GDAL, all of whose are alike, exactly."""
    return downsample[0] * base.height / whole.height, downsample[1] * base.width / whole.width


def _spec_of(
    whole: RasterSpec, base: RasterSpec, downsample: tuple[float, float], reductions: tuple[float, ...]
) -> RasterSpec:
    down, across = downsample
    factor = _factor(whole, base, downsample)
    held = whole.cached_bytes * max(1.0, factor[0]) * max(1.0, factor[1])
    return replace(
        whole,
        height=_pixels(whole.height, down),
        width=_pixels(whole.width, across),
        georef=whole.georef.scaled(down, across),
        chunk=(max(1, round(base.chunk[0] / factor[0])), max(1, round(base.chunk[1] / factor[1]))),
        decoded_bytes=math.ceil(held),
        work_bytes=base.work_bytes + max(COPIES * PIECE_BYTES, _least_work(base, factor)),
        reductions=reductions,
        downsample=downsample,
    )


def needed_of(window: Window, spec: RasterSpec, downsample: tuple[float, float]) -> Window:
    """Return the pixels of a raster, at full resolution, that a window of it resampled is made of."""
    rows = area_taps(window.row, window.row_stop, downsample[0], spec.height)
    return _box(rows, area_taps(window.column, window.column_stop, downsample[1], spec.width))


def _box(rows: Taps, columns: Taps) -> Window:
    return Window.from_edges(rows.start, columns.start, rows.stop, columns.stop)


def _pixels(side: int, factor: float) -> int:
    """Return how many pixels it takes to cover a side; the last one may reach over the edge."""
    return max(1, math.ceil(side / factor - 1e-9))


def _piece(spec: RasterSpec) -> int:
    """Return the side of a piece of the source."""
    work = 8 if spec.item_size > 2 and spec.dtype != "float32" else 4
    return min(LARGEST_PIECE, max(64, math.isqrt(PIECE_BYTES // (spec.bands * work))))


def _least_work(spec: RasterSpec, factor: tuple[float, float]) -> int:
    """Return the bytes that one pixel of the result takes: all that it is made of is held together."""
    down, across = (math.ceil(each) + 1 for each in factor)
    # as it was read, without what is missing of the pixel and of the band; and four masks of bands
    return spec.bands * (3 * spec.item_size + 4) * down * across
