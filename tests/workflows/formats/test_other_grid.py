"""Files of a class map on another grid: what gdalwarp makes of it, nodata kept, refused before anything is computed."""

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
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.ground import ground_of
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.pipeline.outputs.warped_map import warped_grid
from segment_tiles.workflows.config import run_config_from
from segment_tiles.workflows.run.export import export_run
from segment_tiles.workflows.run.request import plan_run

OWN = rasterio.Affine(2, 0, 500_000, 0, -2, 5_000_000)
LIKE = rasterio.Affine(6, 0, 500_100, 0, -6, 4_999_950)
"""Of a raster that covers a part of the map, and more to the right."""


@pytest.fixture
def exported(scored_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(scored_run, tmp_path / "out"))


@pytest.fixture
def like(tmp_path: Path) -> Path:
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": 30,
        "width": 90,
        "dtype": "uint8",
        "crs": "EPSG:32633",
    }
    with rasterio.open(tmp_path / "like.tif", "w", **profile, transform=LIKE) as dataset:
        dataset.write(np.zeros((1, 30, 90), np.uint8))
    return tmp_path / "like.tif"


def by_gdal(values: NDArray[Any], nodata: int, how: Resampling, **target: Any) -> NDArray[Any]:
    found = np.full(target.pop("shape"), nodata, values.dtype)
    reproject(
        values, found, src_transform=OWN, src_crs="EPSG:32633", src_nodata=nodata, dst_nodata=nodata, resampling=how,
        tolerance=0, **target,
    )  # fmt: skip
    return found


@pytest.mark.parametrize("warp", ["nearest", "mode"])
def test_the_map_comes_out_on_the_grid_of_a_raster(exported: Path, like: Path, warp: str) -> None:
    store = open_store(exported / "classes.zarr")
    classes, confidence = np.asarray(store["classes"]), np.asarray(store["confidence"])
    written = export_run(exported, ["cog", "confidence", "scores", "gpkg"], like=str(like), warp=warp)
    assert {"classes.tif", "confidence.tif", "polygons.gpkg"} <= set(written)
    target = {"shape": (30, 90), "dst_transform": LIKE, "dst_crs": "EPSG:32633"}
    how = {"nearest": Resampling.nearest, "mode": Resampling.mode}[warp]
    expected = by_gdal(classes, 255, how, **target)
    with rasterio.open(exported / "classes.tif") as dataset:
        assert (dataset.transform, dataset.nodata) == (LIKE, 255)
        found = dataset.read(1)
    np.testing.assert_array_equal(found, expected)
    assert 0 < (found == 255).sum() < found.size
    sure = by_gdal(confidence, 0, Resampling.nearest if warp == "nearest" else Resampling.average, **target)
    with rasterio.open(exported / "confidence.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), np.where(expected == 255, 0, sure))
    with rasterio.open(exported / "scores.tif") as dataset:
        assert dataset.shape == classes.shape, "scores stay"
    note = "--like: scores.tif stays on the grid of the class map; its values are not resampled"
    assert note in json.loads((exported / "report.json").read_text())["warnings"]
    polygons = gpd.read_file(exported / "polygons.gpkg", layer="polygons")
    assert polygons.area.sum() == pytest.approx(36 * (expected != 255).sum())
    np.testing.assert_array_equal(open_store(exported / "classes.zarr")["classes"], classes)
    assets = json.loads((exported / "item.json").read_text())["assets"]
    assert assets["classes"]["proj:shape"] == [30, 90]
    assert assets["classes"]["proj:transform"] == list(LIKE)[:6]
    assert "proj:shape" not in assets["scores"]
    assert not list((exported / ".segment-tiles").glob("*warped*")), "nothing is left behind"


def test_a_grid_that_no_file_follows_is_refused_and_files_on_others_are_told(
    exported: Path, like: Path
) -> None:
    with pytest.raises(
        UsageError, match=r"--crs: no format that is asked for changes its grid; add one of cog, "
    ):
        export_run(exported, ["scores"], crs="EPSG:3857")
    export_run(exported, ["cog", "confidence"], like=str(like))
    export_run(exported, ["cog"])
    told = json.loads((exported / "report.json").read_text())["warnings"]
    assert any(line.startswith("confidence.tif lies on another grid than what is made now") for line in told)


def test_the_map_comes_out_in_another_crs_and_back(exported: Path) -> None:
    classes = np.asarray(open_store(exported / "classes.zarr")["classes"])
    export_run(exported, ["cog"], crs="EPSG:3857")
    with rasterio.open(exported / "classes.tif") as dataset:
        assert dataset.crs.to_epsg() == 3857
        target = {"shape": dataset.shape, "dst_transform": dataset.transform, "dst_crs": dataset.crs}
        np.testing.assert_array_equal(dataset.read(1), by_gdal(classes, 255, Resampling.nearest, **target))
    export_run(exported, ["cog"])
    with rasterio.open(exported / "classes.tif") as dataset:
        assert dataset.transform == OWN
        np.testing.assert_array_equal(dataset.read(1), classes)


@pytest.mark.parametrize(("crs", "side"), [("EPSG:32633", 0.5), ("EPSG:4326", 1e-5), ("EPSG:3035", 7.0)])
def test_how_much_finer_a_grid_is_is_that_of_the_ground(tmp_path: Path, crs: str, side: float) -> None:
    own = GeoRef.from_affine(OWN, CRS.from_epsg(32633).to_wkt())
    (left, *_), (*_, top) = transform("EPSG:32633", crs, [500_050], [4_999_950])
    with rasterio.open(
        tmp_path / "like.tif", "w", driver="GTiff", count=1, height=30, width=30, dtype="uint8", crs=crs,
        transform=rasterio.Affine(side, 0, left, 0, -side, top),
    ):  # fmt: skip
        pass
    found = warped_grid(own, (150, 170), crs=None, like=str(tmp_path / "like.tif"), by_mode=False)
    areas = [
        float(ground.pixel_areas(georef, [Window(15, 15, 1, 1)])[0])
        for georef in (own, found.georef)
        if (ground := ground_of(georef)) is not None
    ]
    assert found.finer == pytest.approx((areas[0] / areas[1]) ** 0.5, rel=1e-3)


def test_a_run_makes_its_files_there_and_its_store_not(run_blobs: Any, like: Path, tmp_path: Path) -> None:
    out = run_blobs(tmp_path / "run", like=str(like), format="cog", item=True)
    with rasterio.open(out / "classes.tif") as dataset:
        assert dataset.transform == LIKE
        codes = dataset.read(1)
    assert open_store(out / "classes.zarr")["classes"].shape == (150, 170)
    table = (out / "classes.tif.aux.xml").read_text()
    assert f"<F>{(codes == 1).sum()}</F>" in table, "counts of the file, not of the store"
    assert json.loads((out / "report.json").read_text())["status"] == "complete"


@pytest.mark.parametrize(("options", "words"), [
    ({"crs": "EPSG:99999"}, r"--crs EPSG:99999: the class map cannot be brought there"),
    ({"like": "nowhere.tif"}, r"--like nowhere\.tif: the class map cannot be brought there \(nowhere\.tif: No such"),
    ({"crs": "EPSG:3857", "like": "a.tif"}, "--crs EPSG:3857 and --like a.tif exclude each other"),
    ({"warp": "mode"}, "--warp is mode, but the map stays on its grid; give --crs or --like"),
    ({"like": "elsewhere"}, "covers nothing of the class map"),
])  # fmt: skip
def test_what_cannot_be_is_refused_by_plan_and_export(
    blob_scene: Path, small_model: Path, exported: Path, tmp_path: Path, options: dict[str, str], words: str
) -> None:
    if options.get("like") == "elsewhere":
        far = {"crs": "EPSG:32633", "transform": rasterio.Affine(2, 0, 0, 0, -2, 0)}
        profile = {"driver": "GTiff", "count": 1, "height": 9, "width": 9, "dtype": "uint8"}
        with rasterio.open(tmp_path / "far.tif", "w", **profile, **far):
            pass
        options = {"like": str(tmp_path / "far.tif")}
    with pytest.raises(UsageError, match=words):
        plan_run(
            run_config_from(source=str(blob_scene), model=str(small_model), out=tmp_path / "new", **options)
        )
    with pytest.raises(UsageError, match=words):
        export_run(exported, ["cog"], **options)  # type: ignore[arg-type]
