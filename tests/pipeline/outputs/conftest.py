"""Stores of known content for the tests of outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from pyproj import CRS

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.stores.store import array_of, create_store, open_store

UTM_12 = CRS.from_epsg(32612).to_wkt("WKT2_2019")
TABLE = ClassTable(
    (
        MapClass(0, "bare ground", (200, 180, 140)),
        MapClass(1, "tree crown", (30, 120, 50)),
        MapClass(2, "water & ice <old>", (40, 90, 200)),
    )
)
MakeStore = Callable[..., zarr.Group]


@pytest.fixture
def table() -> ClassTable:
    """Return three classes, one with a name that XML must escape."""
    return TABLE


@pytest.fixture
def patchy_classes() -> Callable[[int, int], NDArray[np.uint8]]:
    """Return a function that makes classes in blobs, with a nodata corner."""

    def make(height: int, width: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, TABLE.count, (height // 37 + 1, width // 37 + 1), dtype=np.uint8)
        classes = np.kron(coarse, np.ones((37, 37), np.uint8))[:height, :width].copy()
        rows, columns = np.ogrid[:height, :width]
        classes[rows + columns < min(height, width) // 2] = TABLE.nodata
        return classes

    return make


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Return a function that writes a store of the given classes."""

    def make(
        classes: NDArray[np.uint8],
        *,
        georef: GeoRef | None = None,
        table: ClassTable = TABLE,
        name: str = "classes.zarr",
        scores: NDArray[np.uint8] | None = None,
    ) -> zarr.Group:
        place = georef or GeoRef((0.5, 0.0, 500000.0, 0.0, -0.5, 4900000.0), UTM_12)
        shape = (classes.shape[0], classes.shape[1])
        group = open_store(
            create_store(tmp_path / name, shape, place, table, with_scores=scores is not None), "r+"
        )
        array_of(group, "classes")[:] = classes
        confidence = 100 + (np.indices(shape).sum(axis=0) % 156).astype(np.uint8)
        array_of(group, "confidence")[:] = np.where(classes == table.nodata, 0, confidence)
        if scores is not None:
            array_of(group, "scores")[:] = scores
        return group

    return make
