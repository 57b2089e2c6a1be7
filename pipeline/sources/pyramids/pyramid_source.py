"""A pyramid as a Source: one Level as it is, or resampled to micrometres per pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.accepted import NodataRule
from segment_tiles.pipeline.errors import SourceError, UsageError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.protocol import notes_of
from segment_tiles.pipeline.sources.pyramids.pyramid import SAME_SIZE, Pyramid, PyramidFacts
from segment_tiles.pipeline.sources.resampling.filters import resampled, taps
from segment_tiles.pipeline.sources.resampling.pieces import PIECE, piece_bytes, piece_side
from segment_tiles.pipeline.sources.validity import both, for_bands, marked, nodata_as, valid_pixels
from segment_tiles.pipeline.sources.view import WHOLE, View

PLAUSIBLE_MPP: Final = (0.02, 50.0)
"""Micrometres per pixel that a slide can have; others are a mistake of unit in its metadata."""
ENLARGED_AT_MOST: Final = 8
"""How many pixels of the result may lie along one of the source: more would show nothing, and cost its square."""
SHRUNK_AT_MOST: Final = 1000
"""How many pixels of a Level may lie along one of the result: all are held together."""


class PyramidSource:
    """Windows of a pyramid at the resolution that a View asks for.

    Raises
    ------
    SourceError
        If it has no such Level, or a pixel size is needed and neither known nor given.
    UsageError
        If a band or the nodata value cannot be one of this source.
    """

    def __init__(
        self,
        uri: str,
        pyramid: Pyramid,
        *,
        bands: Sequence[int] | None = None,
        nodata: float | None = None,
        nodata_rule: NodataRule = "all",
        level: int = 0,
        view: View = WHOLE,
    ) -> None:
        facts = pyramid.facts
        self._pyramid, self._rule, self.facts = pyramid, nodata_rule, facts
        left_out = facts.details.get("left_out")
        self._left_out = () if left_out is None else (f"{uri}: not read: {left_out}",)
        self._bands = _chosen_bands(uri, facts, bands)
        self._nodata = for_bands(nodata_as(facts.dtype, nodata), len(self._bands))
        self.native_mpp = _full_mpp(uri, facts, view)
        self.level = _level(uri, facts, level, view, self.native_mpp)
        self._factor = _factor(uri, facts, self.level, view, self.native_mpp)
        self.spec = self._spec()
        self._read: tuple[Window, NDArray[np.bool_] | None] | None = None

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window: bands x rows x columns, native type."""
        values, valid = self._values(window)
        self._read = (window, valid)
        return values

    def valid(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which pixels hold data, as found by the last ``read`` of this window."""
        if self._read is None or self._read[0] != window:
            self.read(window)
        assert self._read is not None  # just read
        return self._read[1]

    def thumbnail(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window decimated to ``shape`` by the nearest pixel of the coarsest Level that has enough."""
        scale = [own / count for own, count in zip(window.shape, shape, strict=True)]
        pixel = self.downsample
        level = self._level_of_thumbnail(min(s * p for s, p in zip(scale, pixel, strict=True)))
        steps = self.facts.downsample(level)
        rows, columns = (
            np.minimum(((start + (np.arange(n) + 0.5) * s) * p / step).astype(np.intp), size - 1)
            for start, n, s, p, step, size in zip(
                (window.row, window.column), shape, scale, pixel, steps, self.facts.levels[level], strict=True
            )
        )
        values = np.empty((self.spec.bands, *shape), dtype=self.spec.dtype)
        valid = np.ones(shape, dtype=bool)
        left, right = int(columns[0]), int(columns[-1]) + 1
        for part in _strips(rows):
            top, bottom = int(rows[part][0]), int(rows[part][-1]) + 1
            read, held = self._level_values(level, Window.from_edges(top, left, bottom, right))
            picked = np.ix_(rows[part] - top, columns - left)
            values[:, part] = read[:, picked[0], picked[1]]
            if held is not None:
                valid[part] = held[picked]
        return values, None if valid.all() else valid

    def close(self) -> None:
        """Release the pyramid."""
        self._pyramid.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the pyramid says that the user should know."""
        return (*notes_of(self._pyramid), *self._left_out)

    @property
    def downsample(self) -> tuple[float, float]:
        """Full-resolution pixels in a pixel of this source, down and across."""
        steps = self.facts.downsample(self.level)
        return (steps[0] * self._factor[0], steps[1] * self._factor[1])

    @property
    def details(self) -> dict[str, Any]:
        """What ``info`` tells of this source beyond its spec."""
        mpp = self.native_mpp
        own = None if mpp is None else [m * d for m, d in zip(mpp, self.downsample, strict=True)]
        return {
            "kind": self.facts.kind,
            "mpp": None if mpp is None else [mpp[1], mpp[0]],
            "read_at_mpp": None if own is None else [own[1], own[0]],
            "levels": [
                {"level": i, "height": rows, "width": columns, "downsample": self.facts.downsample(i)[1]}
                for i, (rows, columns) in enumerate(self.facts.levels)
            ],
            **self.facts.details,
        }

    @property
    def reductions(self) -> tuple[float, ...]:
        """How many times fewer rows the Levels have that are coarser than what is read."""
        steps = (self.facts.downsample(level)[0] for level in range(len(self.facts.levels)))
        return tuple(step / self.downsample[0] for step in steps if step > self.downsample[0])

    def _level_of_thumbnail(self, downsample: float) -> int:
        wanted = [i for i in range(len(self.facts.levels)) if max(self.facts.downsample(i)) <= downsample]
        return max(wanted, key=self.facts.downsample, default=0)

    def _values(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        if self._factor == (1.0, 1.0):
            return self._level_values(self.level, window)
        values = np.empty((self.spec.bands, *window.shape), dtype=self.spec.dtype)
        valid = np.ones(window.shape, dtype=bool)
        for piece in self._pieces(window):
            read, held = self._resampled(piece)
            rows, columns = piece.relative_to(window).slices()
            values[:, rows, columns] = read
            if held is not None:
                valid[rows, columns] = held
        return values, None if valid.all() else valid

    def _pieces(self, window: Window) -> Iterator[Window]:
        height, width = (piece_side(factor) for factor in self._factor)
        return window.parts(height, width)

    def _resampled(self, piece: Window) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        height, width = self.facts.levels[self.level]
        rows = taps(piece.row, piece.row_stop, self._factor[0], height)
        columns = taps(piece.column, piece.column_stop, self._factor[1], width)
        source = Window.from_edges(rows.start, columns.start, rows.stop, columns.stop)
        values, valid = self._level_values(self.level, source)
        lacking = marked(values, self._nodata)
        return resampled(values, valid, rows, columns, missing=lacking, marks=self._nodata)[:2]

    def _level_values(self, level: int, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        values, valid = self._pyramid.read(level, window, self._bands)
        return values, both(valid, valid_pixels(values, self._nodata, self._rule))

    def _spec(self) -> RasterSpec:
        facts, factor = self.facts, self._factor
        height, width = (
            max(1, round(side / step)) for side, step in zip(facts.levels[self.level], factor, strict=True)
        )
        decoded = facts.decoded_bytes or facts.bands * int(np.dtype(facts.dtype).itemsize)
        chunk = facts.chunks[self.level]
        return RasterSpec(
            bands=len(self._bands),
            height=height,
            width=width,
            dtype=facts.dtype,
            georef=self._georef(),
            nodata=self._nodata,
            band_numbers=tuple(
                facts.band_numbers[band] if facts.band_numbers else band + 1 for band in self._bands
            ),
            band_names=tuple(facts.band_names[band] for band in self._bands) if facts.band_names else (),
            chunk=(max(1, round(chunk[0] / factor[0])), max(1, round(chunk[1] / factor[1]))),
            decoded_bytes=int(np.ceil(decoded * max(1.0, factor[0]) * max(1.0, factor[1]))),
            levels=facts.levels,
            downsample=self.downsample,
            work_bytes=0 if factor == (1.0, 1.0) else piece_bytes(len(self._bands), facts.dtype, factor),
        )

    def _georef(self) -> GeoRef:
        rows, columns = self.downsample
        if self.native_mpp is None:
            return GeoRef.of_pixels().scaled(rows, columns)
        height, width = self.native_mpp
        x, y = self.facts.origin
        return GeoRef(
            (width * columns, 0.0, x, 0.0, -height * rows, 0.0 - y),
            unit="micrometer",
            full_resolution=(width, 0.0, x, 0.0, -height, 0.0 - y),
        )


def _strips(rows: NDArray[np.intp]) -> Iterator[slice]:
    """Yield runs of picked rows that lie within ``PIECE`` rows of the Level."""
    first = 0
    for i in range(1, len(rows) + 1):
        if i == len(rows) or rows[i] - rows[first] >= PIECE:
            yield slice(first, i)
            first = i


def _chosen_bands(uri: str, facts: PyramidFacts, bands: Sequence[int] | None) -> list[int]:
    if bands is None:
        return list(range(facts.bands))
    for band in bands:
        if not 1 <= band <= facts.bands:
            msg = f"--bands names band {band}, but {uri} has bands 1 to {facts.bands}"
            raise UsageError(msg)
    return [band - 1 for band in bands]


def _full_mpp(uri: str, facts: PyramidFacts, view: View) -> tuple[float, float] | None:
    mpp = facts.mpp if view.source_mpp is None else (view.source_mpp, view.source_mpp)
    if view.source_mpp is None and mpp is not None and (facts.is_slide or view.mpp is not None):
        low, high = PLAUSIBLE_MPP
        if not all(low <= side <= high for side in mpp):
            msg = (
                f"{uri}: says that its pixels are {mpp[1]:g} x {mpp[0]:g} micrometres, which no microscope has "
                f"({low:g} to {high:g} are accepted); give its own with --source-mpp"
            )
            raise SourceError(msg)
    if mpp is None and view.mpp is not None:
        msg = (
            f"{uri}: does not say how large its pixels are, so it cannot be read at {view.mpp:g} micrometres "
            "per pixel; give its own with --source-mpp, or choose a --level"
        )
        raise SourceError(msg)
    return mpp


def _level(uri: str, facts: PyramidFacts, level: int, view: View, mpp: tuple[float, float] | None) -> int:
    if view.mpp is not None and mpp is not None:
        return facts.level_for(view.mpp, mpp)
    if not 0 <= level < len(facts.levels):
        msg = (
            f"{uri}: has no level {level}, only 0 to {len(facts.levels) - 1}; see `segment-tiles info {uri}`"
        )
        raise SourceError(msg)
    return level


def _factor(
    uri: str, facts: PyramidFacts, level: int, view: View, mpp: tuple[float, float] | None
) -> tuple[float, float]:
    """Return Level pixels in a pixel of the result, down and across; exactly 1 where it is read as it is."""
    if view.mpp is None or mpp is None:
        return 1.0, 1.0
    down, across = (view.mpp / (size * step) for size, step in zip(mpp, facts.downsample(level), strict=True))
    if min(down, across) * ENLARGED_AT_MOST < 1 - SAME_SIZE:
        own = f"{mpp[1]:g}" if mpp[0] == mpp[1] else f"{mpp[1]:g} x {mpp[0]:g}"
        msg = (
            f"{uri}: has {own} micrometres per pixel and would be enlarged {1 / min(down, across):,.0f} times to read "
            f"it at {view.mpp:g}; up to {ENLARGED_AT_MOST} times are accepted: correct its size with --source-mpp, "
            "or choose a larger --mpp or a --level"
        )
        raise SourceError(msg)
    if max(down, across) > SHRUNK_AT_MOST * (1 + SAME_SIZE):
        msg = (
            f"{uri}: would be shrunk {max(down, across):,.0f} times from level {level} to read it at {view.mpp:g} "
            f"micrometres per pixel; up to {SHRUNK_AT_MOST} times are accepted: correct its size with --source-mpp, or "
            "choose a smaller --mpp"
        )
        raise SourceError(msg)
    if max(abs(down - 1), abs(across - 1)) <= SAME_SIZE:
        return 1.0, 1.0
    if facts.color_tables:
        msg = (
            f"{uri}: band {facts.color_tables[0]} holds positions in a colour table, of which means are meaningless: "
            "leave --mpp out, or make colours of them: gdal_translate -expand rgb"
        )
        raise SourceError(msg)
    return down, across
