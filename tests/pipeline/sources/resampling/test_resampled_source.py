"""Rasters on pixels of another size: what GDAL would make of them, the same in any window."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.resampling.pixel_size import pixel_size
from segment_tiles.pipeline.sources.resampling.resampled_source import level_for
from segment_tiles.pipeline.sources.view import View

UTM, DEGREES, SITE = (
    "EPSG:32633",
    "EPSG:4326",
    'ENGCRS["site",EDATUM["corner"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]',
)
Write = Callable[..., Path]


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Writes bands x rows x columns with a transform, in metres of a building site unless told."""

    def written(values: NDArray[Any], transform: Any = None, crs: str = SITE, **profile: Any) -> Path:
        path = tmp_path_factory.mktemp("raster") / "a.tif"
        count, height, width = values.shape
        transform = rasterio.Affine(1, 0, 1000, 0, -1, 2000) if transform is None else transform
        overviews = profile.pop("overviews", [])
        with rasterio.open(
            path, "w", driver="GTiff", height=height, width=width, count=count, dtype=values.dtype,
            crs=rasterio.crs.CRS.from_wkt(crs) if crs.startswith("ENG") else crs, transform=transform, **profile,
        ) as dataset:  # fmt: skip
            dataset.write(values)
            if overviews:
                dataset.build_overviews(overviews, Resampling.average)
        return path

    return written


def picture(height: int, width: int, dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    return (np.random.default_rng(seed).random((2, height, width)) * 250).astype(dtype)


def whole(path: Path, metres: float, level: int = 0) -> tuple[NDArray[Any], NDArray[np.bool_], Any]:
    source = open_source(str(path), view=View(metres=metres), level=level)
    try:
        values = source.read(source.spec.window)
        valid = source.valid(source.spec.window, values)
        return values, np.ones(source.spec.window.shape, bool) if valid is None else valid, source.spec
    finally:
        source.close()


@pytest.mark.parametrize(("metres", "how"), [
    (2.0, Resampling.average), (3.0, Resampling.average), (2.5, Resampling.average), (1.3, Resampling.average),
    (0.5, Resampling.bilinear), (0.25, Resampling.bilinear), (0.4, Resampling.bilinear),
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_interior_pixels_are_those_of_gdal(write: Write, metres: float, how: Resampling, dtype: str) -> None:
    values = picture(60, 75, dtype)
    found, _, spec = whole(write(values), metres)
    expected = np.zeros_like(found)
    reproject(
        values, expected, src_transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000), src_crs=UTM,
        dst_transform=spec.georef.affine, dst_crs=UTM, resampling=how, tolerance=0,
    )  # fmt: skip
    assert spec.georef.transform == (metres, 0, 1000, 0, -metres, 2000)
    edge = max(1, round(1 / metres))
    inside = np.s_[:, edge:-edge, edge:-edge]
    difference = np.abs(found[inside].astype(float) - expected[inside])
    if dtype == "uint8":
        assert (difference <= 1).all(), "rounding of halves"
        assert (difference > 0).mean() < 0.02
    else:
        assert difference.max() < 1e-3


@given(st.sampled_from([0.31, 0.5, 1.7, 2.0, 6.4]), st.booleans(), st.booleans(), st.data())
@settings(max_examples=25)
def test_every_window_is_the_crop_of_the_whole(
    write: Write, metres: float, has_holes: bool, from_overview: bool, data: st.DataObject
) -> None:
    values = picture(61, 47)
    values[:, np.random.default_rng(1).random((61, 47)) < 0.2] = 0
    path = write(values, nodata=0 if has_holes else None, overviews=[2])
    level = int(from_overview and metres >= 2)
    everything, held, spec = whole(path, metres, level)
    top, left = data.draw(st.integers(0, spec.height - 1)), data.draw(st.integers(0, spec.width - 1))
    window = Window.from_edges(
        top, left, data.draw(st.integers(top + 1, spec.height)), data.draw(st.integers(left + 1, spec.width))
    )
    source = open_source(str(path), view=View(metres=metres), level=level)
    part = source.read(window)
    valid = source.valid(window, part)
    source.close()
    rows, columns = window.slices()
    np.testing.assert_array_equal(part, everything[:, rows, columns])
    np.testing.assert_array_equal(
        np.ones(window.shape, bool) if valid is None else valid, held[rows, columns]
    )


@given(
    st.sampled_from([0.31, 0.5, 1.3, 2.0, 2.7, 7.9]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 9),
)
@settings(max_examples=30)
def test_a_pixel_that_holds_data_lies_in_one_that_does(
    write: Write, metres: float, height: int, width: int, seed: int
) -> None:
    """So that the result on the source's own grid has a class wherever the source has data."""
    mask = np.random.default_rng(seed).random((height, width)) < 0.2
    values = np.where(mask, 9, 0).astype(np.uint8)[np.newaxis].repeat(2, 0)
    _, held, spec = whole(write(values, nodata=0), metres)
    rows = np.minimum((np.arange(height) + 0.5) / metres, spec.height - 1).astype(int)
    columns = np.minimum((np.arange(width) + 0.5) / metres, spec.width - 1).astype(int)
    assert held[np.ix_(rows, columns)][mask].all()


def test_pixels_that_hold_no_data_have_no_part_in_a_value(write: Write) -> None:
    values = np.full((1, 40, 40), 7, np.float32)
    values[0, ::3, 1:] = np.nan
    found, held, _ = whole(write(values), 2.0)
    assert held.all()
    assert (found == 7).all()


def test_overviews_are_read_where_they_are_fine_enough(write: Write) -> None:
    """An overview of GDAL has its pixels all alike: of 105 pixels 53, each of 1.98."""
    ramp = np.tile(np.arange(105, dtype=np.float32) + 0.5, (1, 105, 1))
    path = write(ramp, overviews=[2, 4])
    source = open_source(str(path))
    spec, reductions = source.spec, (2.0, 4.0)
    source.close()
    levels = [level_for(spec, reductions, metres, "a") for metres in (0.5, 1.9, 2.0, 3.0, 4.1, 9.0)]
    assert levels == [0, 0, 1, 1, 2, 2]
    for metres in (4.0, 5.0):
        full, _, _ = whole(path, metres)
        small, _, small_spec = whole(path, metres, level=1)
        assert small_spec.height == full.shape[1]
        np.testing.assert_allclose(small[..., 1:-1], full[..., 1:-1], atol=0.2)


TURNED = rasterio.Affine.translation(500000, 5600000) @ rasterio.Affine.rotation(30)


@pytest.mark.parametrize(("transform", "crs", "size"), [
    (rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5600000), UTM, (0.5, 0.5)),
    (rasterio.Affine(2, 0, 500000, 0, -3, 5600000), UTM, (3, 2)),
    (TURNED @ rasterio.Affine.scale(2, -3), UTM, (3, 2)),
    # at 60 degrees north a degree of longitude is half as long, and a metre of Web Mercator is half a metre
    (rasterio.Affine(1e-5, 0, 10, 0, -1e-5, 60), DEGREES, (1.114, 0.558)),
    (rasterio.Affine(2, 0, 1e6, 0, -2, 8399737), "EPSG:3857", (1.0, 1.0)),
    (rasterio.Affine(3, 0, 2e6, 0, -3, 5e5), "EPSG:2263", (0.914, 0.914)),
])  # fmt: skip
def test_pixels_are_measured_on_the_ground(
    write: Write, transform: Any, crs: str, size: tuple[float, float]
) -> None:
    path = write(picture(20, 30), transform, crs)
    source = open_source(str(path))
    measured = pixel_size(source.spec)
    assert measured == pytest.approx(size, rel=5e-3)
    assert measured is not None
    source.close()
    _, _, spec = whole(path, 4.0)
    assert (spec.height, spec.width) == (math.ceil(20 * measured[0] / 4), math.ceil(30 * measured[1] / 4))
    corners = np.array(spec.georef.corners(Window(0, 0, 1, 1)))
    assert corners[0] == pytest.approx((transform.c, transform.f)), "anchored at the raster's own corner"
    if crs == UTM:
        assert np.hypot(*(corners[1] - corners[0])) == pytest.approx(4, rel=1e-2)
        assert np.hypot(*(corners[3] - corners[0])) == pytest.approx(4, rel=1e-2)


@pytest.mark.parametrize(("metres", "crs", "words"), [
    (0.12, SITE, r"a\.tif: has pixels of 1 m and would be enlarged 8 times to be read at 0.12 m; up to 8"),
    (0.01, SITE, r"would be enlarged 100 times.*another --resolution, or native"),
    (5000, SITE, r"would be shrunk 5,000 times.*up to 1000"),
    (2, None, r"--resolution is 2, but the pixels of .*a\.tif have no size in metres.*--resolution native"),
])  # fmt: skip
def test_what_cannot_be_read_is_refused(write: Write, metres: float, crs: str | None, words: str) -> None:
    path = (
        write(picture(9, 9))
        if crs
        else write(picture(9, 9), crs="EPSG:4326", transform=rasterio.Affine(1, 0, 0, 0, -1, 300))
    )
    with pytest.raises(UsageError, match=words):
        open_source(str(path), view=View(metres=metres))


def test_an_enlargement_of_eight_times_is_accepted(write: Write) -> None:
    _, _, spec = whole(write(picture(9, 9)), 0.125)
    assert spec.window.shape == (72, 72)
