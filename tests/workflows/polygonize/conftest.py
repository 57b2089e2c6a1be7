"""Class rasters to polygonise."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.stores.store import array_of, create_store, open_store

NODATA = 9
WriteRaster = Callable[..., Path]


def write_raster(
    path: Path,
    codes: np.ndarray,
    *,
    crs: str | None = "EPSG:32612",
    transform: tuple[float, ...] | None = (0.5, 0, 500_000, 0, -0.5, 4_000_000),
    nodata: float | None = NODATA,
) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # some of these rasters have no place
        with rasterio.open(
            path, "w", driver="GTiff", height=codes.shape[0], width=codes.shape[1], count=1, dtype=codes.dtype,
            nodata=nodata, crs=crs, transform=None if transform is None else rasterio.Affine(*transform),
        ) as raster:  # fmt: skip
            raster.write(codes, 1)
    return path


@pytest.fixture(scope="session")
def class_raster() -> WriteRaster:
    """Writes an array as a GeoTIFF of classes; nodata is 9, a pixel a quarter of a square metre."""
    return write_raster


@pytest.fixture(scope="session")
def land_cover() -> np.ndarray:
    """A map of 300 x 260 pixels with four classes, a nodata corner, features large and small."""
    from scipy.ndimage import gaussian_filter  # noqa: PLC0415

    generator = np.random.default_rng(3)
    fields = [gaussian_filter(generator.standard_normal((300, 260)), radius) for radius in (3, 6, 6, 12)]
    codes = np.argmax([field / field.std() for field in fields], axis=0).astype(np.uint8)
    codes[:60, :40] = NODATA
    return codes


@pytest.fixture
def run_folder(tmp_path: Path, land_cover: np.ndarray) -> Path:
    """The folder of a finished run: classes.zarr with names, colours and confidence."""
    folder = tmp_path / "run"
    table = ClassTable((
        MapClass(0, "water", (0, 0, 255)), MapClass(1, "crop", (255, 255, 0)),
        MapClass(2, "tree", (0, 128, 0)), MapClass(3, "développé", (255, 0, 0)),
    ))  # fmt: skip
    georef = GeoRef((10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0), rasterio.CRS.from_epsg(32612).to_wkt())
    store = open_store(create_store(folder / "classes.zarr", land_cover.shape, georef, table), "r+")
    codes = np.where(land_cover == NODATA, table.nodata, land_cover)
    array_of(store, "classes")[:] = codes
    array_of(store, "confidence")[:] = np.where(codes == table.nodata, 0, 100 + 30 * codes)
    return folder


@pytest.fixture
def refuses() -> Callable[..., str]:
    """Calls a function that must fail for the user; returns the one line that the user reads."""

    def message(kind: type[SegmentTilesError], function: Callable[[], object]) -> str:
        with pytest.raises(kind) as caught:
            function()
        text = str(caught.value)
        assert "\n" not in text
        return text

    return message
