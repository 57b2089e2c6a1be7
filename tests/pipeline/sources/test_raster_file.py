"""GDAL rasters: windows, masks, nodata, levels, retries, and what is said of files that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling

from segment_tiles.pipeline.errors import ReadFailedError, SourceError, UsageError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources import patience
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.rasters import raster_file

ROTATED = rasterio.Affine(0.3, 0.1, 500.0, 0.1, -0.3, 900.0)


def write(path: Path, values: NDArray[Any], **profile: Any) -> Path:
    settings = {"driver": "GTiff", "crs": "EPSG:32633", "transform": ROTATED, **profile}
    with rasterio.open(
        path, "w", count=values.shape[0], height=values.shape[1], width=values.shape[2],
        dtype=values.dtype.name, **settings,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


@pytest.fixture
def values() -> NDArray[Any]:
    return np.arange(4 * 30 * 40, dtype=np.uint16).reshape(4, 30, 40)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_a_window_of_chosen_bands(tmp_path: Path, values: NDArray[Any], dtype: str) -> None:
    path = write(tmp_path / "a.tif", values.astype(dtype))
    source = open_source(str(path), bands=(4, 1))
    assert (source.spec.bands, source.spec.height, source.spec.width) == (2, 30, 40)
    assert source.spec.dtype == dtype
    assert source.spec.georef.affine == ROTATED
    window = Window(3, 5, 7, 11)
    read = source.read(window)
    np.testing.assert_array_equal(read, values.astype(dtype)[[3, 0], 3:10, 5:16])
    assert source.valid(window, read) is None
    source.close()


@pytest.mark.parametrize(
    ("driver", "name", "options"),
    [("PNG", "a.png", {}), ("JP2OpenJPEG", "a.jp2", {"QUALITY": "100", "REVERSIBLE": "YES"})],
)
def test_pictures_without_georeference(
    tmp_path: Path, values: NDArray[Any], driver: str, name: str, options: dict[str, str]
) -> None:
    picture = (values[:3] % 251).astype(np.uint8)
    plain = {"crs": None, "transform": None}
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write(tmp_path / name, picture, driver=driver, **plain, **options)
    source = open_source(str(tmp_path / name))
    assert source.spec.georef.crs_wkt is None
    assert source.spec.georef.pixel_area == 1.0
    np.testing.assert_array_equal(source.read(Window(0, 0, 30, 40)), picture)
    source.close()


def test_a_vrt_reads_as_its_parts(tmp_path: Path, values: NDArray[Any]) -> None:
    write(tmp_path / "a.tif", values)
    vrt = tmp_path / "a.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="40" rasterYSize="30"><VRTRasterBand dataType="UInt16" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>2</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    source = open_source(str(vrt))
    np.testing.assert_array_equal(source.read(Window(2, 2, 5, 5)), values[1:2, 2:7, 2:7])
    source.close()


def test_all_or_any_band_may_be_missing(tmp_path: Path, values: NDArray[Any]) -> None:
    values = values + 1
    values[:, :3] = 0
    values[0, 5] = 0
    path = write(tmp_path / "a.tif", values)
    window = Window(0, 0, 30, 40)
    expected = {"all": 3, "any": 4}
    for rule, rows in expected.items():
        source = open_source(str(path), nodata=0, nodata_rule=rule)  # type: ignore[arg-type]
        valid = source.valid(window, source.read(window))
        assert valid is not None
        assert (~valid).sum() == rows * 40
        source.close()


def test_a_declared_value_is_used_and_overridden(tmp_path: Path, values: NDArray[Any]) -> None:
    path = write(tmp_path / "a.tif", values, nodata=7)
    assert open_source(str(path)).spec.nodata == (7,) * 4
    assert open_source(str(path), nodata=9).spec.nodata == (9,) * 4


def test_alpha_is_no_band_but_a_mask(tmp_path: Path, values: NDArray[Any]) -> None:
    picture = (values % 251).astype(np.uint8)
    picture[3] = 255
    picture[3, :, 20:] = 0
    path = write(tmp_path / "a.tif", picture, photometric="RGB", alpha="YES")
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.alpha
    source = open_source(str(path))
    assert source.spec.bands == 3
    window = Window(0, 10, 30, 20)
    valid = source.valid(window, source.read(window))
    assert valid is not None
    assert valid[:, :10].all()
    assert not valid[:, 10:].any()
    source.close()


def test_levels_are_overviews(tmp_path: Path, values: NDArray[Any]) -> None:
    path = write(tmp_path / "a.tif", values)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2], Resampling.nearest)
    source = open_source(str(path), level=1)
    assert (source.spec.height, source.spec.width) == (15, 20)
    assert source.spec.georef.pixel_area == pytest.approx(4 * abs(ROTATED.determinant))
    source.close()
    with pytest.raises(SourceError, match="no level 2"):
        open_source(str(path), level=2)


def test_a_thumbnail_has_the_shape_asked_for(tmp_path: Path, values: NDArray[Any]) -> None:
    values[:, :10] = 0
    source = open_source(str(write(tmp_path / "a.tif", values)), nodata=0)
    small, valid = source.thumbnail(Window(0, 0, 30, 40), (6, 8))
    assert small.shape == (4, 6, 8)
    assert valid is not None
    assert valid[2:].all()
    assert not valid[:2].any()
    source.close()


def test_what_cannot_be_opened_is_named(tmp_path: Path, values: NDArray[Any]) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.tif: no such file"):
        open_source(str(tmp_path / "nowhere.tif"))
    (tmp_path / "text.tif").write_text("not a raster")
    with pytest.raises(SourceError, match="not a raster that GDAL can read"):
        open_source(str(tmp_path / "text.tif"))
    with pytest.raises(SourceError, match="is a folder"):
        open_source(str(tmp_path))
    path = write(tmp_path / "complex.tif", values.astype(np.complex64))
    with pytest.raises(SourceError, match="complex64"):
        open_source(str(path))
    path = write(tmp_path / "a.tif", values)
    with pytest.raises(UsageError, match=r"band 5, but .* bands 1 to 4"):
        open_source(str(path), bands=(1, 5))
    for nodata in (70000, -1, 0.5, float("nan")):
        with pytest.raises(UsageError, match=r"--nodata is .* uint16"):
            open_source(str(path), nodata=nodata)


def test_a_truncated_file_fails_after_retries(
    tmp_path: Path, values: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    noise = np.random.default_rng(0).integers(0, 255, (1, 600, 600), dtype=np.uint8)
    path = write(tmp_path / "a.tif", noise, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    source = open_source(str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match="ends early or is damaged: its pixels reach to byte"):
        open_source(str(path))
    np.testing.assert_array_equal(source.read(Window(0, 0, 64, 600)), noise[:, :64])
    with pytest.raises(ReadFailedError, match="rows 500 to 600 cannot be read, tried 3 times"):
        source.read(Window(500, 0, 100, 600))
    source.close()


def test_a_read_that_fails_once_is_tried_again(tmp_path: Path, values: NDArray[Any]) -> None:
    path = write(tmp_path / "a.tif", values)
    source = open_source(str(path))
    whole = path.read_bytes()
    source._dataset.close()  # a handle that went away: a server that dropped the connection
    np.testing.assert_array_equal(source.read(Window(0, 0, 30, 40)), values)
    assert path.read_bytes() == whole
    source.close()


@pytest.mark.parametrize("level", [0, 1])
def test_values_are_put_where_they_are_wanted(tmp_path: Path, values: NDArray[Any], level: int) -> None:
    path = write(tmp_path / "a.tif", values)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2], Resampling.nearest)
    source = raster_file.RasterFile(str(path), bands=[3, 1], level=level)
    window = Window(2, 3, 9, 11)
    band = np.zeros((2, 20, 30), dtype=values.dtype)
    source.read_into(window, band[:, 5:14, 7:18])
    np.testing.assert_array_equal(band[:, 5:14, 7:18], source.read(window))
    band[:, 5:14, 7:18] = 0
    assert not band.any(), "nothing beside the window is written"
    source.close()
