"""Rasters computed on pixels of another size: classes of what GDAL resamples, on the raster's own grid again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.features import geometry_mask, rasterize
from rasterio.warp import reproject
from shapely.geometry import Polygon

from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.request import plan_run

CRS = "EPSG:32633"
THRESHOLD = 100.3
NODATA = 255
TURNED = rasterio.Affine.translation(500000, 5600000) @ rasterio.Affine.rotation(25)
TRANSFORMS = {
    "square": rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5600000),
    "higher than wide": rasterio.Affine(0.4, 0, 500000, 0, -0.7, 5600000),
    "turned": TURNED @ rasterio.Affine.scale(0.5, -0.5),
}


@pytest.fixture(scope="module")
def model(threshold_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tells pixels above the threshold, and says that it was trained at 1 m."""
    folder = tmp_path_factory.mktemp("models") / "metre"
    shutil.copytree(threshold_model(1, THRESHOLD), folder)
    document = json.loads((folder / "model.json").read_text())
    document["properties"]["segment_tiles:pixel_size"] = {"value": 1.0, "unit": "m"}
    (folder / "model.json").write_text(json.dumps(document))
    return folder


def write(
    path: Path, transform: Any, *, nodata: int | None = 0, side: tuple[int, int] = (131, 97)
) -> NDArray[Any]:
    """Write a smooth picture with noise, 0 in a hole and in single pixels; return its values."""
    rng = np.random.default_rng(4)
    coarse = rng.integers(1, 250, (-(-side[0] // 12), -(-side[1] // 12)), dtype=np.uint8)
    values = coarse.repeat(12, 0).repeat(12, 1)[: side[0], : side[1]] // 2 + rng.integers(
        1, 90, side, dtype=np.uint8
    )
    if nodata is not None:
        values[rng.random(side) < 0.1] = nodata
        values[40:90, 20:60] = nodata
        values[60, 33] = 170  # alone in the hole
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=side[0], width=side[1], dtype="uint8", crs=CRS, nodata=nodata,
        transform=transform, tiled=True, blockxsize=32, blockysize=32,
    ) as dataset:  # fmt: skip
        dataset.write(values[np.newaxis])
    return values


def by_gdal(
    values: NDArray[Any], transform: Any, metres: float, nodata: int | None = 0
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the class of each pixel of a raster whose resampled pixels GDAL makes, and where it is beyond doubt."""
    height, width = np.hypot(transform.b, transform.e), np.hypot(transform.a, transform.d)
    down, across = metres / height, metres / width
    shape = tuple(int(np.ceil(n / f - 1e-9)) for n, f in zip(values.shape, (down, across), strict=True))
    found = np.full(shape, np.nan, np.float64)
    # upright, for GDAL measures the scale of a turned one otherwise
    reproject(
        values.astype(np.float64), found, src_crs=CRS, dst_crs=CRS, src_nodata=nodata, dst_nodata=np.nan,
        src_transform=rasterio.Affine(1, 0, 500000, 0, -1, 5600000), tolerance=0,
        dst_transform=rasterio.Affine(across, 0, 500000, 0, -down, 5600000),
        resampling=Resampling.average if down > 1 else Resampling.bilinear,
    )  # fmt: skip
    rows = np.minimum((np.arange(values.shape[0]) + 0.5) / down, shape[0] - 1).astype(int)
    columns = np.minimum((np.arange(values.shape[1]) + 0.5) / across, shape[1] - 1).astype(int)
    taken = np.floor(found + 0.5)[np.ix_(rows, columns)]
    # rounding decides some; and what reaches over the edge GDAL weighs as if there were more of it
    found[shape[0] - 1 :], found[:, shape[1] - 1 :] = np.nan, np.nan
    sure = np.abs(found[np.ix_(rows, columns)] - 100.5) > 1e-3
    return np.where(values == nodata, NODATA, taken > THRESHOLD).astype(np.uint8), sure


@pytest.mark.parametrize("placed", TRANSFORMS)
@pytest.mark.parametrize("metres", [1.0, 2.6])
def test_the_result_lies_on_the_grid_of_the_raster(
    thresholded: Any, model: Path, tmp_path: Path, placed: str, metres: float
) -> None:
    values = write(tmp_path / "a.tif", TRANSFORMS[placed])
    classes, report, warnings = thresholded(
        tmp_path / "a.tif", model, resolution="model" if metres == 1 else metres, formats=("zarr", "cog")
    )
    expected, sure = by_gdal(values, TRANSFORMS[placed], metres)
    np.testing.assert_array_equal(classes == NODATA, values == 0)
    assert sure[values != 0].mean() > 0.9
    np.testing.assert_array_equal(classes[sure], expected[sure])
    assert classes[60, 33] != NODATA
    assert report["source"]["resampled"]["metres_per_pixel"] == metres
    assert (report["source"]["height"], report["source"]["width"]) == values.shape
    assert any("resampled" in text or "unlike" in text for text in warnings), warnings
    counts = [int((classes == code).sum()) for code in (0, 1)]
    assert [entry["pixels"] for entry in report["classes"]] == counts
    with rasterio.open(next(tmp_path.rglob("classes.tif"))) as dataset:
        assert dataset.transform.almost_equals(TRANSFORMS[placed], 1e-9)
        np.testing.assert_array_equal(dataset.read(1), classes)


def test_a_raster_is_enlarged_by_bilinear(thresholded: Any, model: Path, tmp_path: Path) -> None:
    transform = rasterio.Affine(3, 0, 500000, 0, -3, 5600000)
    values = write(tmp_path / "a.tif", transform, nodata=None)
    classes, report, _ = thresholded(tmp_path / "a.tif", model)
    expected, sure = by_gdal(values, transform, 1.0, None)
    assert report["source"]["resampled"]["height"] == 3 * values.shape[0]
    inside = np.s_[1:-1, 1:-1]
    np.testing.assert_array_equal(classes[inside][sure[inside]], expected[inside][sure[inside]])
    # of three pixels of the model the one in the middle is that of the raster itself
    np.testing.assert_array_equal(classes, values > THRESHOLD)


def test_native_and_sizes_that_are_alike_are_read_as_they_are(
    thresholded: Any, model: Path, threshold_model: Any, tmp_path: Path
) -> None:
    values = write(tmp_path / "a.tif", TRANSFORMS["square"])
    own = np.where(values == 0, NODATA, values > THRESHOLD)
    classes, report, warnings = thresholded(tmp_path / "a.tif", model, resolution="native")
    np.testing.assert_array_equal(classes, own)
    assert "resampled" not in report["source"]
    assert any("look unlike" in text for text in warnings)
    for other, options in ((threshold_model(1, THRESHOLD), {}), (model, {"resolution": 0.503})):
        np.testing.assert_array_equal(thresholded(tmp_path / "a.tif", other, **options)[0], own)
    write(tmp_path / "b.tif", rasterio.Affine(0.81, 0, 0, 0, -1.24, 0))
    classes, report, warnings = thresholded(tmp_path / "b.tif", model)
    assert "resampled" not in report["source"]
    assert not warnings


def test_the_model_keeps_its_grid_if_asked(thresholded: Any, model: Path, tmp_path: Path) -> None:
    values = write(tmp_path / "a.tif", TRANSFORMS["square"])
    classes, report, _ = thresholded(tmp_path / "a.tif", model, grid="model", formats=("zarr", "cog"))
    own, _, _ = thresholded(tmp_path / "a.tif", model)
    assert classes.shape == (66, 49)
    held = values != 0
    np.testing.assert_array_equal(classes.repeat(2, 0).repeat(2, 1)[:131, :97][held], own[held])
    assert (report["source"]["height"], report["source"]["resampled"]["grid"]) == (66, "model")
    folders = sorted(path.parent for path in tmp_path.rglob("classes.tif"))
    with rasterio.open(folders[0] / "classes.tif") as dataset:
        assert dataset.transform.almost_equals(rasterio.Affine(1, 0, 500000, 0, -1, 5600000), 1e-9)


def test_an_aoi_and_a_roi_count_in_pixels_of_the_raster(
    thresholded: Any, model: Path, tmp_path: Path
) -> None:
    transform = TRANSFORMS["square"]
    write(tmp_path / "a.tif", transform)
    whole, _, _ = thresholded(tmp_path / "a.tif", model)
    shape = Polygon([(500003.1, 5599990.3), (500040.6, 5599981), (500022.2, 5599940.9)])
    gpd.GeoDataFrame(geometry=[shape], crs=CRS).to_file(tmp_path / "aoi.gpkg")
    part, report, _ = thresholded(
        tmp_path / "a.tif", model, aoi=tmp_path / "aoi.gpkg", roi=(500002, 5599939, 500037, 5599992)
    )
    outside = geometry_mask([shape], whole.shape, transform)
    np.testing.assert_array_equal(part, np.where(outside, NODATA, whole)[16:122, 4:74])
    assert report["source"]["window"] == [16, 4, 106, 70]
    assert report["tiles"]["computed"] < report["tiles"]["planned"] or report["tiles"]["skipped"] == 0


def test_an_overview_is_read_where_nothing_can_be_missing(
    thresholded: Any, model: Path, tmp_path: Path
) -> None:
    transform = rasterio.Affine(0.25, 0, 500000, 0, -0.25, 5600000)
    levels = {}
    for nodata in (None, 0):
        values = write(tmp_path / "a.tif", transform, nodata=nodata, side=(256, 192))
        with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
            dataset.build_overviews([2, 4], Resampling.average)
        for grid in ("source", "model"):
            classes, report, _ = thresholded(tmp_path / "a.tif", model, grid=grid)
            levels[nodata, grid] = report["source"]["resampled"]["level"]
            if nodata is None and grid == "source":
                means = values.reshape(64, 4, 48, 4).mean((1, 3)).repeat(4, 0).repeat(4, 1)
                sure = np.abs(means - THRESHOLD) > 2
                np.testing.assert_array_equal(classes[sure], (means > THRESHOLD)[sure])
    assert levels == {(None, "source"): 2, (None, "model"): 2, (0, "source"): 0, (0, "model"): 2}


def test_the_plan_counts_what_is_computed(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.tif", TRANSFORMS["square"], side=(600, 500))
    plans = {
        resolution: plan_run(
            RunConfig(
                str(tmp_path / "a.tif"), str(model), tmp_path / "out", device="cpu", precision="fp32",
                resolution=resolution,
            )
        )
        for resolution in ("model", "native", 2.0)
    }  # fmt: skip
    tiles = {resolution: plan.tiles for resolution, plan in plans.items()}
    assert tiles["native"] > 3.5 * tiles["model"] > 3.5 * 3 * tiles[2.0]
    assert plans["model"].expected_seconds < plans["native"].expected_seconds / 3
    assert plans["model"].disk_bytes == plans["native"].disk_bytes


def test_files_beside_the_map_lie_where_the_raster_does(
    thresholded: Any, model: Path, tmp_path: Path
) -> None:
    """Polygons, item and preview of a turned raster; areas are those of the raster's own pixels."""
    transform = TRANSFORMS["turned"]
    values = write(tmp_path / "a.tif", transform)
    classes, report, _ = thresholded(tmp_path / "a.tif", model, formats=("zarr", "gpkg"), preview=True)
    (folder,) = (path.parent for path in tmp_path.rglob("polygons.gpkg"))
    polygons = gpd.read_file(folder / "polygons.gpkg", layer="polygons")
    drawn = rasterize(
        [(shape, code + 1) for shape, code in zip(polygons.geometry, polygons.class_code, strict=True)],
        values.shape,
        transform=transform,
    )
    np.testing.assert_array_equal(drawn, np.where(classes == NODATA, 0, classes + 1))
    assert report["classes"][1]["area_planar"] == pytest.approx(0.25 * (classes == 1).sum())
    item = json.loads((folder / "item.json").read_text())
    assert item["properties"]["proj:shape"] == list(values.shape)
    assert item["properties"]["proj:transform"][:6] == pytest.approx(list(transform)[:6])
    assert (folder / "preview.png").stat().st_size > 1000


def test_a_stack_is_resampled_as_a_raster_is(thresholded: Any, threshold_model: Any, tmp_path: Path) -> None:
    values = write(tmp_path / "a.tif", TRANSFORMS["square"])
    coarse = np.ascontiguousarray(values[:130:2, :96:2])
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": 65,
        "width": 48,
        "dtype": "uint8",
        "crs": CRS,
        "nodata": 0,
    }
    with rasterio.open(
        tmp_path / "b.tif", "w", **profile, transform=TRANSFORMS["square"] @ rasterio.Affine.scale(2)
    ) as dataset:
        dataset.write(coarse[np.newaxis])
    both = f"{tmp_path / 'a.tif'},{tmp_path / 'b.tif'}"
    model = threshold_model(2, THRESHOLD)
    own, _, _ = thresholded(both, model, resolution="native")
    classes, report, _ = thresholded(both, model, resolution=1.0)
    assert report["source"]["resampled"]["height"] == 66
    np.testing.assert_array_equal(classes == NODATA, own == NODATA)
    assert (classes == own)[own != NODATA].mean() > 0.5
