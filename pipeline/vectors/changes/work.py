"""What a worker does for a vector tile while the class raster itself is changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.changes.holes import Rims, TileHoles, fill_holes, tile_holes
from segment_tiles.pipeline.vectors.changes.majority import majority_codes
from segment_tiles.pipeline.vectors.changes.sieve import SieveLinks, SieveTable, sieve_links, sieved_codes
from segment_tiles.pipeline.vectors.changes.surroundings import (
    Surroundings,
    WholeComponents,
    tile_seams,
    whole_components,
)
from segment_tiles.pipeline.vectors.geometry.pieces import SeamPieces
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.changed_class_raster import write_codes
from segment_tiles.pipeline.vectors.rasters.class_raster import RasterName
from segment_tiles.pipeline.vectors.rasters.opening import open_class_raster
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection, class_selection
from segment_tiles.pipeline.vectors.tiling import VectorTiling


@dataclass(frozen=True, slots=True)
class ChangeSetup:
    """Where codes are read from and where they go."""

    raster: RasterName
    """The class raster."""
    before: Path | None
    """Codes of the step before, or None for those of the raster."""
    after: Path
    """Array for the changed codes."""
    options: PolygonizeOptions
    """What is asked for."""


class ChangeWorker:
    """Changes the codes of vector tiles, with its own handle on the raster."""

    def __init__(self, setup: ChangeSetup) -> None:
        self._raster = open_class_raster(
            setup.raster,
            setup.before,
            band=setup.options.band,
            reclass=setup.options.reclass,
            mask=setup.options.mask,
        )
        self._after = setup.after
        self._options = setup.options
        spec = self._raster.spec
        self._tiling = VectorTiling(spec.height, spec.width, setup.options.vector_tile)
        self._features = class_selection(spec, setup.options)
        self._valid = ClassSelection(None, () if spec.nodata is None else (spec.nodata,))
        self._everything = ClassSelection(None, ())

    def majority(self, number: int) -> None:
        """Smooth one tile."""
        window = self._tiling.numbered(number).window
        write_codes(self._after, window, majority_codes(self._raster, window, self._options.majority))

    def valid_seams(self, number: int) -> SeamPieces:
        """Return the components of a tile at its seams, nodata left out."""
        window = self._tiling.numbered(number).window
        return tile_seams(self._raster, window, self._valid, self._options.connectivity)

    def all_seams(self, number: int) -> SeamPieces:
        """Return the components of a tile at its seams, those of nodata too."""
        window = self._tiling.numbered(number).window
        return tile_seams(self._raster, window, self._everything, self._options.connectivity)

    def sieve_links(self, task: tuple[int, Surroundings]) -> SieveLinks:
        """Return the largest neighbours of small components at the seams of a tile."""
        return sieve_links(self._whole(task, self._valid), self._options.sieve)

    def sieve(self, task: tuple[int, Surroundings, SieveTable]) -> None:
        """Give the small components of a tile their new class."""
        number, surroundings, table = task
        components = self._whole((number, surroundings), self._valid)
        codes = sieved_codes(components, self._options.sieve, table)
        window = self._tiling.numbered(number).window
        before = self._raster.read(window)
        changed = np.append(codes, 0)[components.inner]
        write_codes(self._after, window, np.where(components.inner < 0, before, changed))

    def holes(self, task: tuple[int, Surroundings]) -> tuple[SeamPieces, Rims]:
        """Return the groups of small components at the seams of a tile, and what is around them."""
        holes = self._holes(task)
        return holes.seams, holes.rims.take(holes.on_seam)

    def fill(self, task: tuple[int, Surroundings, NDArray[np.int64]]) -> None:
        """Fill the holes of a tile."""
        number, surroundings, at_seams = task
        holes = self._holes((number, surroundings))
        window = self._tiling.numbered(number).window
        codes = self._raster.read(window)
        limit = self._options.minimum_hole
        write_codes(self._after, window, fill_holes(codes, holes, at_seams, limit, self._features))

    def _whole(self, task: tuple[int, Surroundings], selection: ClassSelection) -> WholeComponents:
        number, surroundings = task
        window = self._tiling.numbered(number).window
        return whole_components(self._raster, window, selection, self._options.connectivity, surroundings)

    def _holes(self, task: tuple[int, Surroundings]) -> TileHoles:
        window = self._tiling.numbered(task[0]).window
        components = self._whole(task, self._everything)
        return tile_holes(components, self._raster.spec, window, self._options.minimum_hole)

    def close(self) -> None:
        """Close the raster."""
        self._raster.close()
