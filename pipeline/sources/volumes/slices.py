"""Slices of a volume as Sources: what the engine segments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.accepted import NodataRule
from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.volume import Slicing, VolumeSpec
from segment_tiles.pipeline.sources.array import ArraySource
from segment_tiles.pipeline.sources.validity import for_bands
from segment_tiles.pipeline.sources.volumes.volume import BLOCK_BYTES, DEPTH
from segment_tiles.pipeline.sources.volumes.voxel_copy import Voxels
from segment_tiles.pipeline.wording import counted


def slice_spec(spec: VolumeSpec, slicing: Slicing, neighbours: int) -> RasterSpec:
    """Return what is known of every slice: one band per channel, or per neighbouring slice.

    Raises
    ------
    ModelError
        If neighbours are wanted of a volume with several channels.
    """
    if neighbours and spec.channels > 1:
        msg = f"--neighbours is {neighbours}, but the volume has {counted(spec.channels, 'channel')}; one is needed"
        raise ModelError(msg)
    _, height, width = slicing.shape_of(spec.shape)
    _, down, across = slicing.spacing_of(spec.affine)
    georef = GeoRef((across, 0.0, 0.0, 0.0, down, 0.0), None, "millimeter")
    bands = spec.channels + 2 * neighbours
    nodata = for_bands(spec.nodata, bands)
    return RasterSpec(bands, height, width, spec.dtype, georef, nodata, chunk=(height, width))


def open_slices(
    voxels: Voxels,
    spec: VolumeSpec,
    slicing: Slicing,
    numbers: Iterable[int],
    *,
    neighbours: int = 0,
    nodata_rule: NodataRule = "all",
) -> Iterator[ArraySource]:
    """Yield slices as Sources, in the order of their numbers; a few at a time are in memory.

    Parameters
    ----------
    voxels
        channels x i x j x k, wherever they lie.
    numbers
        Slices along the axis, from 0.
    neighbours
        Slices on both sides that are bands too, from the lowest number up; at the ends of the volume the
        last slice stands for those that are not there.
    """
    count = slicing.shape_of(spec.shape)[0]
    step, georef = slices_at_once(spec, slicing), slice_spec(spec, slicing, neighbours).georef
    held, lowest = range(0), 0
    for number in numbers:
        if number not in held:
            first = number // step * step
            held, lowest = range(first, min(first + step, count)), max(first - neighbours, 0)
            block = read_slices(voxels, spec, slicing, lowest, min(held.stop + neighbours, count))
        bands = block[:, number - lowest]
        if neighbours:
            around = np.clip(np.arange(number - neighbours, number + neighbours + 1), 0, count - 1)
            bands = block[0, around - lowest]
        yield ArraySource(bands, georef=georef, nodata=spec.nodata, nodata_rule=nodata_rule)


def read_slices(voxels: Voxels, spec: VolumeSpec, slicing: Slicing, first: int, stop: int) -> NDArray[Any]:
    """Return channels x slices x rows x columns of consecutive slices, as people look at them."""
    axis = slicing.order[0]
    box = [slice(None)] * 4
    box[1 + axis] = slice(*slicing.span(0, first, stop, spec.shape[axis]))
    return slicing.view(voxels[box[0], box[1], box[2], box[3]])


def slices_at_once(spec: VolumeSpec, slicing: Slicing) -> int:
    """Return how many slices are held together: as many as BLOCK_BYTES hold, and not more than DEPTH."""
    count, height, width = slicing.shape_of(spec.shape)
    of_slice = height * width * spec.channels * np.dtype(spec.dtype).itemsize
    return max(1, min(DEPTH, count, BLOCK_BYTES // of_slice))
