"""PolygonizeOptions: how a class raster becomes polygons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import Target
from segment_tiles.pipeline.grid.objects import ObjectRule

DEFAULT_VECTOR_TILE = 2048


@dataclass(frozen=True, slots=True)
class PolygonizeOptions:
    """Settings that decide which features come out; the same settings give the same features.

    Areas are in pixels here; the command line turns square metres into pixels once, at the door.
    The order in which they act: majority, sieve, hole filling, class selection, minimum area, tracing,
    simplification, right angles.
    """

    connectivity: Literal[4, 8] = 4
    """4: pixels that share an edge are one feature; 8: a shared corner is enough."""
    classes: tuple[str, ...] = ()
    """Names or codes of the classes wanted; empty for all."""
    background: str | None = None
    """Name or code of a class that becomes no feature."""
    majority: int = 0
    """Side of the window of majority smoothing in pixels, odd; 0 for none."""
    sieve: int = 0
    """A component with fewer pixels takes the class of its largest neighbour."""
    minimum_hole: int = 0
    """A hole with fewer pixels takes the class of the feature around it."""
    minimum_area: int = 0
    """A feature with fewer pixels is left out."""
    simplify: float = 0.0
    """Distance in pixels that simplification may move a border; 0 keeps exact pixel edges."""
    right_angles: tuple[str, ...] = ()
    """Names or codes of the classes whose outlines become right-angled (buildings)."""
    band: int | None = None
    """Band of classes, from 1, in a raster of several; None: the only one."""
    mask: int | None = None
    """Code of the one class, of several that may overlap, whose mask is polygonised; None: the class map."""
    reclass: tuple[Target, ...] = ()
    """Classes as they will be, before anything else; those that are not named stay."""
    objects: tuple[ObjectRule, ...] = ()
    """How classes become objects; the others become polygons of their connected pieces."""
    maximum_area: int | None = None
    """A feature with more pixels is left out."""
    minimum_confidence: float = 0.0
    """A feature whose mean confidence, 0 to 1, is below is left out."""
    drops_edge: bool = False
    """True if features that touch the edge of the raster are left out."""
    measure: Path | str | None = None
    """Raster on the same grid whose values under objects are measured."""
    vector_tile: int = DEFAULT_VECTOR_TILE
    """Side of a vector tile in pixels: memory and parallelism, never the features."""

    def __post_init__(self) -> None:
        if self.connectivity not in (4, 8):
            raise UsageError(f"connectivity is {self.connectivity}; it must be 4 or 8")
        if self.majority and (self.majority < 3 or self.majority % 2 == 0):
            raise UsageError(f"majority is {self.majority}; it must be 0 or an odd number from 3")
        if self.band is not None and self.band < 1:
            raise UsageError(f"band is {self.band}; it must be 1 or more")
        if self.vector_tile < 1:
            raise UsageError(f"vector tile is {self.vector_tile} pixels; it must be 1 or more")
        for name in ("sieve", "minimum_hole", "minimum_area", "simplify"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if self.maximum_area is not None and self.maximum_area < max(1, self.minimum_area):
            msg = f"maximum area is {self.maximum_area} px; it must be {max(1, self.minimum_area)} px or more"
            raise UsageError(msg)
        if not 0 <= self.minimum_confidence <= 1:
            raise UsageError(f"minimum confidence is {self.minimum_confidence}; it must be 0 to 1")

    @property
    def changes_pixels(self) -> bool:
        """True if the class raster itself is changed before polygons are traced."""
        return bool(self.majority or self.sieve or self.minimum_hole)

    @property
    def keeps_pixel_edges(self) -> bool:
        """True if outlines are traced along pixels and not simplified."""
        return self.simplify == 0

    @property
    def links_corners(self) -> bool:
        """True if outlines are linked from their corners, in tiles and across seams; GDAL and GEOS make all others."""
        # what is straightened may depend on the corner at which they begin a ring
        is_plain = self.connectivity == 4 and not self.objects  # one polygon for each feature
        return is_plain and self.keeps_pixel_edges and not self.right_angles

    @property
    def is_exact(self) -> bool:
        """True if the area of every feature is its pixels times the area of a pixel."""
        return self.keeps_pixel_edges and not self.right_angles
