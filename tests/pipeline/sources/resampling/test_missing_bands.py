"""Values that one band lacks have no part in its means, as where GDAL warps band by band; constants stay constants."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject

from segment_tiles.pipeline.accepted import NodataRule
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.stacks.resolve import StackOptions, resolved
from segment_tiles.pipeline.sources.view import View

UTM = "EPSG:32633"
AT = rasterio.Affine(1, 0, 500000, 0, -1, 5600000)
MARK = -9999


def write(path: Path, values: NDArray[Any], nodata: float | None = None) -> str:
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=values.dtype, crs=UTM, transform=AT,
        nodata=nodata,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return str(path)


def whole(source: Source) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    values = source.read(source.spec.window)
    valid = source.valid(source.spec.window, values)
    source.close()
    return values, np.ones(source.spec.window.shape, bool) if valid is None else valid


def holed(dtype: str, bands: int = 2) -> NDArray[Any]:
    """Bands that lack values here and there, together and alone, and one a whole corner."""
    rng = np.random.default_rng(7)
    values = rng.integers(1, 1000, (bands, 24, 36)).astype(dtype)
    values[rng.random(values.shape) < 0.3] = MARK
    values[:, rng.random((24, 36)) < 0.2] = MARK
    values[0, :7, :7] = MARK
    values[:, -6:, -6:] = MARK
    return values


def by_gdal(band: NDArray[Any], metres: float) -> NDArray[Any]:
    shape = tuple(int(np.ceil(side / metres)) for side in band.shape)
    found = np.full(shape, MARK, band.dtype)
    reproject(
        band, found, src_transform=AT, src_crs=UTM, dst_transform=AT @ rasterio.Affine.scale(metres), dst_crs=UTM,
        src_nodata=MARK, dst_nodata=MARK, resampling=Resampling.average, tolerance=0,
    )  # fmt: skip
    return found


@pytest.mark.parametrize("as_stack", [False, True])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("metres", [2.0, 3.0])
def test_means_of_each_band_are_those_of_gdal(
    tmp_path: Path, dtype: str, metres: float, as_stack: bool
) -> None:
    values = holed(dtype)
    if as_stack:
        names = [write(tmp_path / f"{n}.tif", band[np.newaxis], MARK) for n, band in enumerate(values)]
        name = resolved(",".join(names), StackOptions())
    else:
        name = write(tmp_path / "a.tif", values, MARK)
    found, valid = whole(open_source(name, view=View(metres=metres)))
    expected = np.stack([by_gdal(band, metres) for band in values])
    np.testing.assert_array_equal(valid, (expected != MARK).any(0))
    assert (expected[0] == MARK)[valid].any(), "one band alone lacks some"
    difference = np.abs(found[:, valid].astype(float) - expected[:, valid])
    assert difference.max() <= (1 if dtype == "int16" else 0.001), "GDAL rounds halves of thirds otherwise"
    assert (difference >= 1).mean() < 0.05


def test_masks_of_single_bands_count_band_by_band(tmp_path: Path) -> None:
    """As in overviews that GDAL averages; its warper knows masks of single bands in no way."""
    rng = np.random.default_rng(0)
    values, held = rng.integers(50, 100, (2, 24, 36)).astype("float32"), rng.random((2, 24, 36)) > 0.4
    write(tmp_path / "a.tif", np.where(held, values, 9999))
    write(tmp_path / "mask.tif", (held * 255).astype("uint8"))

    def source(file: str, band: int) -> str:
        name = f'<SourceFilename relativeToVRT="1">{file}</SourceFilename>'
        return f"<SimpleSource>{name}<SourceBand>{band}</SourceBand></SimpleSource>"

    bands = "".join(
        f'<VRTRasterBand dataType="Float32" band="{n}"><MaskBand><VRTRasterBand dataType="Byte">'
        f"{source('mask.tif', n)}</VRTRasterBand></MaskBand>{source('a.tif', n)}</VRTRasterBand>"
        for n in (1, 2)
    )
    placed = f"<SRS>{UTM}</SRS><GeoTransform>500000,1,0,5600000,0,-1</GeoTransform>"
    name = tmp_path / "a.vrt"
    name.write_text(f'<VRTDataset rasterXSize="36" rasterYSize="24">{placed}{bands}</VRTDataset>')
    found, valid = whole(open_source(str(name), view=View(metres=2.0)))
    with rasterio.open(name, "r+") as dataset:
        dataset.build_overviews([2], Resampling.average)
    with rasterio.open(name, overview_level=0) as dataset:
        expected = dataset.read()
    some = held.reshape(2, 12, 2, 18, 2).any((2, 4))
    np.testing.assert_array_equal(valid, some.any(0))
    assert (~some.all(0))[valid].any()
    np.testing.assert_allclose(found[some], expected[some], rtol=1e-6)


@pytest.mark.parametrize("rule", ["all", "any"])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("metres", [0.7, 2.0, 2.7])
def test_every_window_is_the_crop_of_the_whole(
    tmp_path: Path, dtype: str, metres: float, rule: NodataRule
) -> None:
    values = holed(dtype)
    values[:, 12:, 18:] = 500  # windows in which nothing is missing
    name = write(tmp_path / "a.tif", values, MARK)
    everything, held = whole(open_source(name, view=View(metres=metres), nodata_rule=rule))
    source = open_source(name, view=View(metres=metres), nodata_rule=rule)
    height, width = source.spec.window.shape
    for row in range(0, height, 5):
        for column in range(0, width, 3):
            window = Window(row, column, 5, 3).intersect(source.spec.window)
            part = source.read(window)
            valid = source.valid(window, part)
            np.testing.assert_array_equal(part, everything[:, *window.slices()])
            np.testing.assert_array_equal(True if valid is None else valid, held[window.slices()])
    source.close()


def test_a_band_that_a_file_of_the_stack_does_not_cover_keeps_its_means(tmp_path: Path) -> None:
    """Nothing is declared: what stands in for the missing column has no part in the mean."""
    names = [
        write(tmp_path / "a.tif", np.full((1, 8, 8), 1000, np.int16)),
        write(tmp_path / "b.tif", np.full((1, 8, 7), 500, np.int16)),
    ]
    found, valid = whole(open_source(resolved(",".join(names), StackOptions()), view=View(metres=2.0)))
    assert valid.all()
    assert (found[0] == 1000).all()
    assert (found[1] == 500).all()


def test_a_band_of_a_pyramid_keeps_its_means_too(tmp_path: Path) -> None:
    values = np.full((2, 16, 16), 1000, np.int16)
    values[0, :, ::4] = MARK
    zarr.create_array(tmp_path / "a.zarr", data=values)
    view = View(mpp=1.0, source_mpp=0.5)
    found, valid = whole(open_source(str(tmp_path / "a.zarr"), nodata=MARK, view=view))
    assert valid.all()
    assert (found == 1000).all()


@pytest.mark.parametrize(("dtype", "mark"), [("uint8", 0), ("uint8", 255), ("uint16", 0)])
def test_what_may_be_dark_or_bright_in_one_band_of_a_picture_stays_in_its_mean(
    tmp_path: Path, dtype: str, mark: int
) -> None:
    values = np.full((3, 4, 4), 100, dtype)
    values[0, :, ::2] = mark
    found, _ = whole(open_source(write(tmp_path / "a.tif", values, mark), view=View(metres=2.0)))
    assert (found[0] == (100 + mark + 1) // 2).all()
    assert (found[1:] == 100).all()


@pytest.mark.parametrize(("dtype", "value"), [("uint16", 50001), ("uint16", 33333), ("float32", 273.15)])
def test_a_constant_stays_one_however_many_pixels_are_added_up(
    tmp_path: Path, dtype: str, value: float
) -> None:
    name = write(tmp_path / "a.tif", np.full((1, 1000, 1000), value, dtype))
    found, _ = whole(open_source(name, view=View(metres=1000.0)))
    assert found[0, 0, 0] == np.dtype(dtype).type(value)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_one_pixel_takes_no_more_memory_than_is_told(tmp_path: Path, dtype: str) -> None:
    values = np.ones((40, 600, 600), dtype)
    values[:, ::7, ::5] = 0 if dtype == "uint8" else np.nan
    source = open_source(write(tmp_path / "a.tif", values, 0), view=View(metres=600.0))
    del values
    tracemalloc.start()
    source.read(source.spec.window)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    source.close()
    assert 0.3 * source.spec.work_bytes < peak < source.spec.work_bytes
