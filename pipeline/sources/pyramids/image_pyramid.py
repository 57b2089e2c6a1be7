"""Images of up to five dimensions as a pyramid of bands: OME-TIFF, OME-Zarr and plain Zarr arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError, UsageError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.pyramids.decoded_chunks import DecodedChunks
from segment_tiles.pipeline.sources.pyramids.pyramid import PyramidFacts
from segment_tiles.pipeline.sources.view import View

LARGEST_SIDE: Final = 2**31 - 1
"""Positions along an axis, as in GDAL."""
MOST_BANDS: Final = 65_535
"""Channels, as in GDAL."""


@dataclass(frozen=True, slots=True)
class ImageDescription:
    """What a format says of an image; the arrays say the rest."""

    kind: str
    """Format and version."""
    axes: tuple[str, ...]
    """One letter per dimension, lower case: t, c, z, y, x, and s for samples of a colour pixel."""
    mpp: tuple[float, float] | None = None
    """Height and width of a full-resolution pixel in micrometres."""
    origin: tuple[float, float] = (0.0, 0.0)
    """x and y of the top left corner in micrometres."""
    channels: tuple[str, ...] = ()
    """Names of the channels; empty if the file has none."""
    is_slide: bool = False
    """Whether it is a brightfield slide."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else ``info`` tells."""


class ImagePyramid:
    """One plane of an image: its channels as bands, at every Level.

    Raises
    ------
    SourceError
        If the dimensions are not those of an image, the type is not numeric, or a plane must be chosen.
    UsageError
        If the plane that was chosen does not exist.
    """

    def __init__(
        self,
        uri: str,
        arrays: Sequence[zarr.Array[Any]],
        description: ImageDescription,
        view: View,
        cache_bytes: int,
        release: Callable[[], None] | None = None,
    ) -> None:
        self._arrays, self._axes, self._release = arrays, description.axes, release
        sizes = _sizes(uri, arrays, description.axes)
        self._planes = {
            axis: _plane(uri, axis, sizes.get(axis, 1), wanted)
            for axis, wanted in (("z", view.z), ("t", view.t))
        }
        self._samples = sizes.get("s", 1)
        self._cache = DecodedChunks(uri, cache_bytes)
        self.facts = _facts(arrays, description, sizes)

    def read(
        self, level: int, window: Window, bands: Sequence[int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window of a Level: bands x rows x columns, native byte order; every pixel holds data."""
        values = np.empty((len(bands), *window.shape), dtype=self.facts.dtype)
        for channel in sorted({band // self._samples for band in bands}):
            box = self._box(window, channel)
            read = self._arranged(self._cache.read(level, self._arrays[level], box))
            for i, band in enumerate(bands):
                if band // self._samples == channel:
                    values[i] = read[band % self._samples]
        return values, None

    def close(self) -> None:
        """Release the cache and the file."""
        self._cache.close()
        if self._release is not None:
            self._release()

    def _box(self, window: Window, channel: int) -> tuple[slice, ...]:
        rows, columns = window.slices()
        known = {"y": rows, "x": columns, "c": slice(channel, channel + 1), "s": slice(0, self._samples)}
        planes = {axis: slice(index, index + 1) for axis, index in self._planes.items()}
        return tuple((known | planes).get(axis, slice(0, 1)) for axis in self._axes)

    def _arranged(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return samples x rows x columns."""
        kept = [axis for axis in ("s", "y", "x") if axis in self._axes]
        single = tuple(i for i, axis in enumerate(self._axes) if axis not in kept)
        order = [axis for axis in self._axes if axis in kept]
        plane = values.squeeze(single).transpose([order.index(axis) for axis in kept])
        return plane if "s" in kept else plane[np.newaxis]


def _sizes(uri: str, arrays: Sequence[zarr.Array[Any]], axes: tuple[str, ...]) -> dict[str, int]:
    shape = arrays[0].shape
    if len(axes) != len(shape) or not {"y", "x"} <= set(axes) or len(set(axes)) != len(axes):
        msg = f"{uri}: its {len(shape)} dimensions are named {', '.join(axes)}; an image has y and x, each axis once"
        raise SourceError(msg)
    for level, array in enumerate(arrays):
        if min(*array.shape, *array.chunks) < 1 or max(array.shape) > LARGEST_SIDE:
            msg = (
                f"{uri}: its level {level} has {_times(array.shape)} values in chunks of {_times(array.chunks)}; sides "
                f"of 1 to {LARGEST_SIDE:,} are needed: export it again"
            )
            raise SourceError(msg)
    sizes = dict(zip(axes, shape, strict=True))
    if (bands := sizes.get("c", 1) * sizes.get("s", 1)) > MOST_BANDS:
        msg = f"{uri}: has {bands:,} channels; up to {MOST_BANDS:,} can be read: export those that the model needs"
        raise SourceError(msg)
    for axis, size in sizes.items():
        if axis not in {"t", "c", "z", "y", "x", "s"} and size > 1:
            msg = f"{uri}: has {size} positions along axis {axis!r}, which is not t, c, z, y or x; export one of them"
            raise SourceError(msg)
    kind = np.dtype(arrays[0].dtype).kind
    if kind not in "uif":
        msg = f"{uri}: holds {arrays[0].dtype} values; only integers and floats can be segmented"
        raise SourceError(msg)
    return sizes


def _times(sides: Sequence[int]) -> str:
    return " x ".join(f"{int(side)}" for side in sides)


def _plane(uri: str, axis: str, size: int, wanted: int | None) -> int:
    what = {"z": "planes", "t": "time points"}[axis]
    if wanted is None:
        if size > 1:
            msg = f"{uri}: has {size} {what}; choose one with --{axis}, 0 to {size - 1}"
            raise SourceError(msg)
        return 0
    if wanted >= size:
        have = f"{size} {what}, 0 to {size - 1}" if size > 1 else f"one only: leave out --{axis}"
        msg = f"--{axis} is {wanted}, but {uri} has {have}"
        raise UsageError(msg)
    return wanted


def _facts(
    arrays: Sequence[zarr.Array[Any]], description: ImageDescription, sizes: Mapping[str, int]
) -> PyramidFacts:
    axes = description.axes
    row, column = axes.index("y"), axes.index("x")
    bands = sizes.get("c", 1) * sizes.get("s", 1)
    dtype = np.dtype(arrays[0].dtype).newbyteorder("=")
    first = arrays[0]
    # a chunk may hold more planes and channels than the one that is read
    deep = int(
        np.prod([c for c, axis in zip(first.chunks, axes, strict=True) if axis not in {"y", "x", "c"}])
    )
    return PyramidFacts(
        kind=description.kind,
        bands=bands,
        dtype=dtype.name,
        levels=tuple((array.shape[row], array.shape[column]) for array in arrays),
        chunks=tuple((array.chunks[row], array.chunks[column]) for array in arrays),
        mpp=description.mpp,
        band_names=description.channels
        if len(description.channels) == bands and any(description.channels)
        else (),
        origin=description.origin,
        decoded_bytes=max(deep * sizes.get("c", 1), bands) * dtype.itemsize,
        is_slide=description.is_slide,
        details={
            "axes": "".join(axes),
            "channels": bands,
            "planes_z": sizes.get("z", 1),
            "time_points": sizes.get("t", 1),
            **description.details,
        },
    )
