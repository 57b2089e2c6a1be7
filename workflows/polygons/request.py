"""The options of `segment-tiles polygonize` as they are typed, turned into PolygonizeOptions."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import split_names
from segment_tiles.pipeline.vectors.amounts import pixels_of_area, pixels_of_length
from segment_tiles.pipeline.vectors.options import DEFAULT_VECTOR_TILE, PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import RasterName, open_class_raster


@dataclass(frozen=True, slots=True)
class PolygonizeWords:
    """Options as text; areas and lengths are ``25px`` or in units of the raster."""

    connectivity: int = 4
    classes: str | None = None
    background: str | None = None
    majority: int = 0
    sieve: str = "0px"
    minimum_hole: str = "0px"
    minimum_area: str = "0px"
    simplify: str = "0px"
    right_angles: str | None = None
    vector_tile: int = DEFAULT_VECTOR_TILE
    band: int | None = None


def options_from_words(raster: RasterName, words: PolygonizeWords) -> PolygonizeOptions:
    """Return the options, with areas and lengths in pixels of the raster.

    Raises
    ------
    UsageError
        When a word is not understood.
    VectorError
        When the raster cannot be opened.
    """
    with closing(open_class_raster(raster, band=words.band)) as opened:
        spec = opened.spec
    return PolygonizeOptions(
        connectivity=_connectivity(words.connectivity),
        classes=_names(words.classes),
        background=words.background,
        majority=words.majority,
        sieve=pixels_of_area(words.sieve, spec),
        minimum_hole=pixels_of_area(words.minimum_hole, spec),
        minimum_area=pixels_of_area(words.minimum_area, spec),
        simplify=pixels_of_length(words.simplify, spec),
        right_angles=_names(words.right_angles),
        band=words.band,
        vector_tile=words.vector_tile,
    )


def _names(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(name for name in split_names(text) if name)


def _connectivity(number: int) -> Literal[4, 8]:
    if number == 4:
        return 4
    if number == 8:
        return 8
    raise UsageError(f"connectivity is {number}; it must be 4 or 8")
