"""What a worker does for a vector tile while pixels are given to objects.

::

    middles  (only classes that are split by distance)   middles.zarr   1 where a seed is
    seams    label the seeds of a tile, look at its sides   -> joined across tiles
    seeds    label them again, each with the first pixel of the whole    seeds.zarr     key of each seed
    owners   read as far as the reach around the tile                    objects.zarr   identity of each pixel
             and count the pixels of sheaths for the nearest objects
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.changes.surroundings import Surroundings, tile_seams, whole_components
from segment_tiles.pipeline.vectors.geometry.objects.sheaths import Sheaths
from segment_tiles.pipeline.vectors.geometry.pieces import SeamPieces
from segment_tiles.pipeline.vectors.objects.cells import counted_by_cells
from segment_tiles.pipeline.vectors.objects.middles import middles
from segment_tiles.pipeline.vectors.objects.nearest import NONE, nearest_seeds
from segment_tiles.pipeline.vectors.objects.rules import CodeRules, Group, code_rules
from segment_tiles.pipeline.vectors.objects.seed_raster import SeedRaster
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.changed_class_raster import write_codes
from segment_tiles.pipeline.vectors.rasters.class_raster import RasterName
from segment_tiles.pipeline.vectors.rasters.identities import identities_of, keys_of
from segment_tiles.pipeline.vectors.rasters.opening import open_class_raster
from segment_tiles.pipeline.vectors.tiling import VectorTiling


@dataclass(frozen=True, slots=True)
class ObjectSetup:
    """Where codes are read from, and where seeds and objects go."""

    raster: RasterName
    """The class raster."""
    before: Path | None
    """Changed codes, or None for those of the raster."""
    middles: Path | None
    """Array of the seeds of classes that are split by distance; None: there are none."""
    seeds: Path
    """Array of the keys of seeds."""
    after: Path
    """Array of identities."""
    options: PolygonizeOptions
    """What is asked for."""


@dataclass(frozen=True, slots=True)
class Owned:
    """What was counted of one tile."""

    valid: NDArray[np.int64]
    """Pixels with a class in each cell of the raster, as `counted_by_cells` counts them."""
    far: tuple[int, ...]
    """Pixels of each group, then of each group of sheaths, that no seed reaches."""
    seeds: tuple[int, ...]
    """Pixels of the class of each rule."""
    beside: tuple[int, ...]
    """Pixels of each border class, then of each sheath."""
    sheaths: Sheaths
    """Pixels of sheaths in this tile, by object."""


class ObjectWorker:
    """Gives the pixels of vector tiles to objects, with its own handle on the raster."""

    def __init__(self, setup: ObjectSetup) -> None:
        options = setup.options
        self._raster = open_class_raster(
            setup.raster, setup.before, band=options.band, reclass=options.reclass
        )
        rules = code_rules(self._raster.spec, options)
        self._rules = CodeRules((), options.connectivity) if rules is None else rules
        self._setup = setup
        self._seeds = SeedRaster(self._raster, self._rules, setup.middles)
        spec = self._raster.spec
        self._tiling = VectorTiling(spec.height, spec.width, options.vector_tile)

    def middles(self, number: int) -> None:
        """Find the seeds in one tile of the classes that are split by distance."""
        window = self._tiling.numbered(number).window
        outer = window.grow(self._rules.halo).intersect(self._raster.spec.window)
        codes = self._raster.read(outer)
        found = np.zeros(outer.shape, dtype=np.uint8)
        for rule in self._rules.rules:
            if rule.rule.split_by is not None:
                member = codes == rule.code
                if member.any():
                    found |= middles(member, rule.rule.reach, rule.rule.depth, self._rules.connectivity)
        assert self._setup.middles is not None
        write_codes(self._setup.middles, window, found[window.relative_to(outer).slices()])

    def seams(self, number: int) -> SeamPieces:
        """Return the seeds of a tile at its seams."""
        window = self._tiling.numbered(number).window
        return tile_seams(self._seeds, window, self._rules.selection, self._rules.connectivity)

    def seeds(self, task: tuple[int, Surroundings]) -> None:
        """Write the key of every seed of a tile."""
        number, surroundings = task
        window = self._tiling.numbered(number).window
        whole = whole_components(
            self._seeds, window, self._rules.selection, self._rules.connectivity, surroundings
        )
        rules = self._rules.numbers(whole.attributes.codes)
        keys = keys_of(whole.attributes.first_pixels, rules)
        # below 0: an object that is left out, to which no sheath is given
        keys = np.where(self._rules.are_too_small(rules, whole.attributes.pixels), -keys, keys)
        write_codes(self._setup.seeds, window, np.append(keys, NONE)[whole.inner])  # OUTSIDE is -1, the last

    def owners(self, number: int) -> Owned:
        """Write the identity of every pixel of a tile."""
        window = self._tiling.numbered(number).window
        outer = window.grow(self._rules.reach).intersect(self._raster.spec.window)
        inner = window.relative_to(outer)
        codes = self._raster.read(window)
        array: zarr.Array[Any] = zarr.open_array(self._setup.seeds, mode="r")
        keys = np.asarray(array[outer.slices()])
        sheaths = self._sheaths(codes, keys, inner)
        if sheaths:
            keys = np.abs(keys)
        owners = keys[inner.slices()].copy()
        far = [self._give(group, owners, codes, keys, inner) for group in self._rules.groups]
        far += [int(np.count_nonzero(found == NONE)) for found in sheaths]
        result = np.where(owners != NONE, identities_of(owners), codes.astype(np.int64))
        write_codes(self._setup.after, window, result)
        nodata = self._raster.spec.nodata
        has_class = np.ones(codes.shape, dtype=np.bool_) if nodata is None else codes != nodata
        seeds = _counted(codes, [rule.code for rule in self._rules.rules])
        beside = _counted(codes, (*self._rules.borders, *self._rules.sheaths))
        valid = counted_by_cells(has_class, window, self._raster.spec)
        return Owned(valid, tuple(far), seeds, beside, Sheaths.of_keys(sheaths))

    def _give(
        self,
        group: Group,
        owners: NDArray[np.int64],
        codes: NDArray[np.integer],
        keys: NDArray[np.int64],
        inner: Window,
    ) -> int:
        """Give the pixels of a group in a tile to the nearest seeds; return how many have none within the reach."""
        waiting = (codes == group.code) & (owners == NONE)
        if not waiting.any():
            return 0
        found = self._nearest(group, waiting, keys, inner)
        owners[waiting] = found
        return int(np.count_nonzero(found == NONE))

    def _sheaths(
        self, codes: NDArray[np.integer], keys: NDArray[np.int64], inner: Window
    ) -> list[NDArray[np.int64]]:
        """Return the key of the nearest object of each pixel of each class of sheaths in a tile."""
        groups = self._rules.sheath_groups
        large = np.maximum(keys, NONE) if groups else keys
        return [self._nearest(group, codes == group.code, large, inner) for group in groups]

    def _nearest(
        self, group: Group, waiting: NDArray[np.bool_], keys: NDArray[np.int64], inner: Window
    ) -> NDArray[np.int64]:
        """Return the key of the nearest seed of each waiting pixel of a tile, in reading order; `NONE`: too far."""
        wanted = np.zeros(keys.shape, dtype=np.bool_)
        wanted[inner.slices()] = waiting
        return nearest_seeds(self._rules.keys_for(group, keys), wanted, self._rules.reach_of(group))

    def close(self) -> None:
        """Close the raster."""
        self._raster.close()


def _counted(codes: NDArray[np.integer], wanted: Sequence[int]) -> tuple[int, ...]:
    """Return how many pixels have each of some codes."""
    # one look for each run of pixels
    flat = codes.ravel()
    starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
    found, run = np.unique(flat[starts], return_inverse=True)
    numbers = np.bincount(run, weights=np.diff(starts, append=flat.size)).astype(np.int64)
    known = dict(zip(found.tolist(), numbers.tolist(), strict=True))
    return tuple(known.get(code, 0) for code in wanted)
