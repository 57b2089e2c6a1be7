"""Classes that overlap: a mask each in every file, equal to what NumPy, SciPy and GDAL make of the scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import nibabel
import numpy as np
import pyogrio
import pytest
import rasterio
import rioxarray
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.warp import Resampling, reproject
from rio_cogeo.cogeo import cog_validate
from scipy import ndimage

import segment_tiles as st
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.package import load_manifest, load_network, save_model_package
from segment_tiles.pipeline.models.packages.geometry import OutputGeometry
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.run.export import export_run

pytestmark = pytest.mark.filterwarnings("ignore::segment_tiles.SegmentTilesWarning")
Run = Callable[..., Path]
NAMES = ("other", "tree", "water")
PIXEL = 4.0
"""Square metres of a pixel of the scene."""


def overlapping(model: Path, folder: Path) -> Path:
    """Write a package of a model whose classes may overlap."""
    manifest = load_manifest(model)
    weights = load_network(model, manifest).state_dict()
    several = replace(manifest, name="several", output=OutputGeometry(multi_label=True))
    save_model_package(folder / "model", several, weights)
    return folder / "model"


@pytest.fixture(scope="module")
def several(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model, whose classes may overlap."""
    return overlapping(small_model, tmp_path_factory.mktemp("several"))


@pytest.fixture(scope="module")
def finished(several: Path, blob_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    st.segment(
        blob_scene, model=str(several), out=out, scores=True, threshold="tree=0.45", device="cpu", precision="fp32",
        backend="torch", batch=2, format="cog,masks,gpkg,parquet", preview=False,
    )  # fmt: skip
    return out


@pytest.fixture
def made(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "made"))


def masks_by_numpy(folder: Path, *thresholds: float) -> NDArray[np.bool_]:
    """Return classes x (slices x) rows x columns: where the byte of a score reaches that of its threshold."""
    scores = np.asarray(open_store(folder / "classes.zarr")["scores"])
    least = np.floor(np.array(thresholds) * 255 + 0.5)
    return np.asarray(scores >= least.reshape(-1, *(1,) * (scores.ndim - 1)))


def check_features(frame: gpd.GeoDataFrame, mask: NDArray[np.bool_], transform: Any) -> None:
    """Compare the features of one class with the components of its mask."""
    _, count = ndimage.label(mask)
    assert len(frame) == count
    assert frame["pixels"].sum() == mask.sum()
    assert frame.area.sum() == frame["pixels"].sum() * transform.a * -transform.e
    assert frame.area.tolist() == (frame["pixels"] * transform.a * -transform.e).tolist()
    burnt = rasterize(frame.geometry, mask.shape, transform=transform) if len(frame) else np.zeros(mask.shape)
    np.testing.assert_array_equal(burnt, mask)


def test_every_file_has_every_class_of_a_pixel(made: Path) -> None:
    masks, store = masks_by_numpy(made, 0.5, 0.45, 0.5), open_store(made / "classes.zarr")
    valid = np.asarray(store["classes"]) != 255
    assert (masks.sum(0) > 1).any()
    assert (~valid).any()
    assert cog_validate(made / "masks.tif", strict=True, quiet=True) == (True, [], [])
    with rasterio.open(made / "masks.tif") as file:
        assert (file.descriptions, file.nodata, file.dtypes[0]) == (NAMES, 255, "uint8")
        np.testing.assert_array_equal(file.read(), np.where(valid, masks, 255))
        transform, crs = file.transform, file.crs
    layers = {name: gpd.read_file(made / "polygons.gpkg", layer=name) for name in NAMES}
    assert [*pyogrio.list_layers(made / "polygons.gpkg")[:, 0]] == [*NAMES, "layer_styles"]
    table = gpd.read_parquet(made / "polygons.parquet")
    assert table["id"].is_unique
    report = json.loads((made / "report.json").read_text())
    scores = np.asarray(store["scores"])
    for code, name in enumerate(NAMES):
        assert layers[name].crs == table.crs == crs
        check_features(layers[name], masks[code], transform)
        own = table[table["class_name"] == name]
        check_features(own, masks[code], transform)
        whole = (own["confidence"] * own["pixels"]).sum() * 255
        assert whole == pytest.approx(int(scores[code][masks[code]].sum()))
        size = report["masks"][code]
        assert (size["name"], size["pixels"]) == (name, masks[code].sum())
        assert size["area_planar"] == own.area.sum()
        assert size["area"] == pytest.approx(own.area.sum(), rel=2e-3)
    assert set(table["class_name"]) == set(NAMES), "what has no class is no feature"
    (made / "polygons.parquet").unlink()
    frame = st.open_result(made).polygons()
    assert sorted(frame["id"]) == sorted(table["id"]), "all layers of the GeoPackage"


def test_scores_say_that_they_are_of_the_highest_class(finished: Path) -> None:
    scores = st.evaluate(finished, finished / "classes.tif", boundary_width=[1], trimap_width=[1])
    assert [note[:30] for note in scores["notes"]] == ["classes of the map may overlap"]


def test_thresholds_at_an_export_are_those_of_a_run(made: Path) -> None:
    export_run(made, ("gpkg", "masks", "parquet"), threshold=("tree=0.6", "water=0.4"), sieve="1px")
    masks = masks_by_numpy(made, 0.5, 0.6, 0.4)
    table = gpd.read_parquet(made / "polygons.parquet")
    with rasterio.open(made / "masks.tif") as file:
        for code, name in enumerate(NAMES):
            np.testing.assert_array_equal(file.read(code + 1) == 1, masks[code])
            check_features(table[table["class_name"] == name], masks[code], file.transform)
    assert table["confidence"].notna().all()


def test_classes_that_are_merged_have_one_mask(
    made: Path, several: Path, blob_scene: Path, tmp_path: Path
) -> None:
    (tmp_path / "merged.yaml").write_text("land: {from: [other, tree], code: 7}\n")
    export_run(made, ("masks", "gpkg", "parquet", "cog"), reclass=tmp_path / "merged.yaml")
    masks = masks_by_numpy(made, 0.5, 0.45, 0.5)
    land = masks[0] | masks[1]
    with rasterio.open(made / "masks.tif") as file:
        assert file.descriptions == ("water", "land")
        np.testing.assert_array_equal(file.read(2) == 1, land)
        check_features(gpd.read_file(made / "polygons.gpkg", layer="land"), land, file.transform)
    st.polygonize(made, out=tmp_path / "a.parquet", reclass=tmp_path / "merged.yaml")
    table = gpd.read_parquet(tmp_path / "a.parquet")
    assert dict(table.groupby("class_code")["pixels"].sum()) == {2: masks[2].sum(), 7: land.sum()}
    st.segment(
        blob_scene, model=str(several), out=tmp_path / "out", scores=True, threshold="tree=0.45", device="cpu",
        precision="fp32", backend="torch", batch=2, format=("masks", "parquet", "cog"), preview=False,
        reclass=tmp_path / "merged.yaml",
    )  # fmt: skip
    for name in ("masks.tif", "polygons.parquet", "classes.tif"):
        assert (made / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


def test_polygonize_takes_the_classes_that_are_named_in_any_tiles(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "polygons.fgb"
    st.polygonize(finished, out=out, classes="water,none", sieve="4px", vector_tile=64, split_by_class=True)
    masks = masks_by_numpy(finished, 0.5, 0.45, 0.5)
    valid = np.asarray(open_store(finished / "classes.zarr")["classes"]) != 255
    none = gpd.read_file(tmp_path / "polygons.none.fgb")
    assert none["pixels"].sum() == pytest.approx((valid & ~masks.any(0)).sum(), rel=0.05)
    assert none["confidence"].isna().all()
    water = gpd.read_file(tmp_path / "polygons.water.fgb")
    assert water["pixels"].min() >= 4
    whole = tmp_path / "whole.parquet"
    st.polygonize(finished, out=whole, classes="water", sieve="4px")
    assert gpd.read_parquet(whole)["id"].tolist() == water["id"].tolist()


def test_a_volume_has_the_masks_of_a_reclass_and_counts_them(
    grey_model: Path, scan: Callable[..., Any], tmp_path: Path
) -> None:
    nibabel.save(nibabel.Nifti1Image(scan(), np.diag([2.0, 2.0, 5.0, 1.0])), tmp_path / "scan.nii")
    (tmp_path / "merged.yaml").write_text("land: {from: [other, tree], code: 7}\n")
    asked: dict[str, Any] = {
        "model": str(overlapping(grey_model, tmp_path)),
        "reclass": tmp_path / "merged.yaml",
    }
    result = st.segment(
        tmp_path / "scan.nii", out=tmp_path / "out", scores=True, device="cpu", precision="fp32", backend="torch",
        batch=2, preview=False, **asked,
    )  # fmt: skip
    masks = masks_by_numpy(tmp_path / "out", 0.5, 0.5, 0.5)
    assert (masks[0] & masks[1]).any()
    np.testing.assert_array_equal(result.masks, masks)
    assert result.masks["class"].to_numpy().tolist() == ["land", "land", "water"]
    assert [(one["name"], one["voxels"], one["volume_ml"]) for one in result.report["masks"]] == [
        ("water", masks[2].sum(), pytest.approx(masks[2].sum() * 0.02)),
        ("land", (masks[0] | masks[1]).sum(), pytest.approx((masks[0] | masks[1]).sum() * 0.02)),
    ]
    (note,) = (
        text for text in st.plan(tmp_path / "scan.nii", **asked).document["warnings"] if "may overlap" in text
    )
    assert note.endswith("the highest of each pixel; the array masks of classes.zarr has all")


def test_masks_lie_on_another_grid_as_gdal_puts_them(made: Path) -> None:
    export_run(made, ("masks", "gpkg"), crs="EPSG:3857")
    masks = masks_by_numpy(made, 0.5, 0.45, 0.5)
    valid = np.asarray(open_store(made / "classes.zarr")["classes"]) != 255
    with rasterio.open(made / "classes.tif") as before, rasterio.open(made / "masks.tif") as file:
        for code, name in enumerate(NAMES):
            expected = np.full(file.shape, 255, np.uint8)
            reproject(
                np.where(valid, masks[code], 255).astype(np.uint8), expected, src_transform=before.transform,
                src_crs=before.crs, dst_transform=file.transform, dst_crs=file.crs, src_nodata=255, dst_nodata=255,
                resampling=Resampling.nearest, tolerance=0,
            )  # fmt: skip
            np.testing.assert_array_equal(file.read(code + 1), expected)
            layer = gpd.read_file(made / "polygons.gpkg", layer=name)
            assert layer["pixels"].sum() == (expected == 1).sum()


def test_masks_of_classes_that_exclude_each_other_are_refused(
    scored_run: Path, blob_scene: Path, small_model: Path
) -> None:
    with pytest.raises(UsageError, match=r"--format names masks, .* model small exclude each other; use cog"):
        export_run(scored_run, ("masks",))
    with pytest.raises(UsageError, match="--format names masks"):
        st.plan(blob_scene, model=str(small_model), format="masks")


def test_arrays_have_the_masks_of_a_run(finished: Path, several: Path, blob_scene: Path) -> None:
    expected = masks_by_numpy(finished, 0.5, 0.45, 0.5)
    valid = np.asarray(open_store(finished / "classes.zarr")["classes"]) != 255
    asked: dict[str, Any] = {
        "model": str(several), "threshold": "tree=0.45", "device": "cpu", "precision": "fp32", "backend": "torch",
        "batch": 2,
    }  # fmt: skip
    with rioxarray.open_rasterio(blob_scene) as image:
        found = st.segment_array(image, **asked)
    assert (found.dims, found["class"].to_numpy().tolist()) == (("class", "y", "x"), list(NAMES))
    assert (found.rio.nodata, found.rio.crs.to_epsg()) == (255, 32633)
    np.testing.assert_array_equal(found, np.where(valid, expected, 255))
    with rioxarray.open_rasterio(blob_scene, chunks={"x": 64, "y": 64}) as lazy:
        np.testing.assert_array_equal(st.segment_array(lazy, **asked).compute(), found)
    stored = st.open_result(finished).masks
    assert stored.dims == found.dims
    np.testing.assert_array_equal(stored.sel({"class": "tree"}), expected[1])
    assert stored.rio.bounds() == found.rio.bounds()


def test_thresholds_of_arrays_are_those_of_a_run(
    scored_run: Path, blob_scene: Path, small_model: Path
) -> None:
    with rasterio.open(blob_scene) as file:
        found = st.segment_array(
            file.read(), model=str(small_model), nodata=0, threshold="tree=0.3", unsure=0.5, device="cpu",
            precision="fp32",
        )  # fmt: skip
    scores = np.asarray(open_store(scored_run / "classes.zarr")["scores"])
    others = np.where(scores[[0, 2]].max(0) >= 128, np.where(scores[0] >= scores[2], 0, 2), 3)
    expected = np.where(scores[1] >= 77, 1, others)
    np.testing.assert_array_equal(found, np.where(scores.any(0), expected, 255))


@pytest.mark.parametrize(("asked", "text"), [
    ({"objects": "tree"}, "classes of the raster may overlap: 'tree' has no objects"),
    ({"min_confidence": 0.5}, "have one of their own only with --scores"),
])  # fmt: skip
def test_what_polygons_of_masks_cannot_have_is_refused_before_anything_is_computed(
    several: Path, blob_scene: Path, asked: dict[str, Any], text: str
) -> None:
    with pytest.raises(st.SegmentTilesError, match=text):
        st.plan(blob_scene, model=str(several), format="gpkg", **asked)


def test_polygons_of_masks_below_a_confidence_are_left_out(finished: Path, tmp_path: Path) -> None:
    st.polygonize(finished, out=tmp_path / "all.parquet")
    st.polygonize(finished, out=tmp_path / "sure.parquet", min_confidence=0.55)
    whole, sure = (gpd.read_parquet(tmp_path / name) for name in ("all.parquet", "sure.parquet"))
    assert 0 < len(sure) < len(whole)
    assert sure["id"].tolist() == whole["id"][whole["confidence"] >= 0.55].tolist()
