"""Which classes become features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import VectorError
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec

LARGEST_SIDE = 1 << 24
"""Rows and columns that a stable id can tell apart."""


@dataclass(frozen=True, slots=True)
class ClassSelection:
    """Codes that become features: the wanted ones, or all but the unwanted."""

    wanted: tuple[int, ...] | None
    """Codes asked for, or None for every code."""
    unwanted: tuple[int, ...]
    """Codes that never become features: nodata and background."""

    def selects(self, codes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return True for the codes that become features."""
        chosen = ~np.isin(codes, self.unwanted)
        if self.wanted is not None:
            chosen &= np.isin(codes, self.wanted)
        return chosen

    def are_large_enough(self, codes: NDArray[np.int64], pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return True for the whole features, of these class codes and pixels, that are not too small to be kept."""
        return pixels > 0


def class_selection(spec: ClassRasterSpec, options: PolygonizeOptions) -> ClassSelection:
    """Return the selection that the options ask for, names turned into codes."""
    if options.mask is not None:
        return ClassSelection((options.mask,), ())
    wanted = tuple(code for name in options.classes for code in class_codes(spec, name)) or None
    unwanted = [] if spec.nodata is None else [spec.nodata]
    if options.background is not None:
        unwanted.extend(class_codes(spec, options.background))
    return ClassSelection(wanted, tuple(unwanted))


def wanted_masks(spec: ClassRasterSpec, options: PolygonizeOptions) -> tuple[int, ...]:
    """Return the codes of the classes whose masks are polygonised: of what has none of them only if it is named."""
    selection = class_selection(spec, options)
    codes = [entry.code for entry in spec.classes] if options.classes else spec.masks
    return tuple(code for code in codes if selection.selects(np.array([code]))[0])


def check_request(spec: ClassRasterSpec, options: PolygonizeOptions) -> None:
    """Refuse what cannot be done, before anything is computed.

    Raises
    ------
    VectorError
        When a class name is neither known nor a number, or the raster is wider or higher than the
        stable ids can number.
    """
    if max(spec.height, spec.width) > LARGEST_SIDE:
        msg = (
            f"the raster has {spec.height} x {spec.width} pixels; {LARGEST_SIDE} a side are the most: cut it"
        )
        raise VectorError(msg)
    class_selection(spec, options)
    if options.minimum_confidence > 0 and not spec.has_confidence:
        has_none = "the raster has no confidence"
        if spec.masks:
            has_none = "classes that may overlap have one of their own only with --scores, and on the grid of the run"
        msg = f"minimum confidence is {options.minimum_confidence}, but {has_none}; leave it out"
        raise VectorError(msg)
    for name in options.right_angles:
        class_codes(spec, name)


def class_codes(spec: ClassRasterSpec, name: str) -> tuple[int, ...]:
    """Return the codes of a class given by name or by code; a raster may give one name to several codes.

    Raises
    ------
    VectorError
        When it is neither a known name nor a number.
    """
    named = tuple(known.code for known in spec.classes if known.name == name)
    if named:
        return named
    try:
        return (int(name),)
    except ValueError:
        names = ", ".join(c.name for c in spec.classes) or "none are known, so give codes"
        msg = f"class {name!r} is not in the raster; its classes are: {names}"
        raise VectorError(msg) from None
