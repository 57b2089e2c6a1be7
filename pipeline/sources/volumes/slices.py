"""A slice of a volume as a Source: what the engine segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.volume import Slicing, VolumeSpec
from segment_tiles.pipeline.sources.array import ArraySource
from segment_tiles.pipeline.sources.protocol import NodataRule


def slice_spec(spec: VolumeSpec, slicing: Slicing, neighbours: int) -> RasterSpec:
    """Return what is known of every slice: one band per channel, or per neighbouring slice.

    Raises
    ------
    ModelError
        Where neighbours are wanted of a volume with several channels.
    """
    if neighbours and spec.channels > 1:
        msg = f"--neighbours is {neighbours}, but the volume has {spec.channels} channels; one is needed"
        raise ModelError(msg)
    _, height, width = slicing.shape_of(spec.shape)
    _, down, across = slicing.spacing_of(spec.affine)
    georef = GeoRef((across, 0.0, 0.0, 0.0, down, 0.0), None, "millimeter")
    return RasterSpec(
        spec.channels + 2 * neighbours, height, width, spec.dtype, georef, spec.nodata, chunk=(height, width)
    )


def open_slices(
    values: NDArray[Any],
    spec: VolumeSpec,
    slicing: Slicing,
    numbers: Sequence[int],
    *,
    neighbours: int = 0,
    nodata_rule: NodataRule = "all",
) -> Iterator[ArraySource]:
    """Yield slices as Sources, in the order of their numbers.

    Parameters
    ----------
    values
        channels x i x j x k, as `held_volume` gives them; nothing is copied but with neighbours.
    numbers
        Slices along the axis, from 0.
    neighbours
        Slices on both sides that are bands too, from the lowest number up; at the ends of the volume the
        last slice stands for those that are not there.
    """
    view = slicing.view(values)
    last = view.shape[1] - 1
    georef = slice_spec(spec, slicing, neighbours).georef
    for number in numbers:
        bands = view[:, number]
        if neighbours:
            around = np.clip(np.arange(number - neighbours, number + neighbours + 1), 0, last)
            bands = view[0, around]
        yield ArraySource(bands, georef=georef, nodata=spec.nodata, nodata_rule=nodata_rule)
