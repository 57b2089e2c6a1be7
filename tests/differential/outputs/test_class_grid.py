"""``--grid model`` of a network whose output is coarser: the class grid is its own, as a plain loop has it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from shapely.geometry import box

import segment_tiles as st
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.inference_network import load_rewritten
from segment_tiles.workflows.model_packages.weights_import import import_model
from segment_tiles.workflows.options.model_import import import_request_from
from segment_tiles.workflows.regions import loaded_model

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
FIXED: dict[str, Any] = {
    "device": "cpu", "precision": "fp32", "backend": "torch", "blend": "crop", "batch": 2, "grid": "model",
}  # fmt: skip
MEAN, STD = (np.array(row, np.float32)[:, None, None] for row in ((100, 110, 90), (50, 60, 70)))
SHAPES = {"a quarter": (64, 0), "cropped and coarser": (64, 8)}


@pytest.fixture(scope="module")
def models(graphs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packages of networks with an output coarser by 4, one of them cropped by 8 px on each side."""
    made = {}
    for name, (_, margin) in SHAPES.items():
        folder = tmp_path_factory.mktemp("coarse")
        extent: dict[str, Any] = {"sides": (64, 64), "out": (64 - 2 * margin) // 4}
        path = graphs.write_graph(
            folder / "net.onnx", **extent, kernel=4, stride=4, dilation=6 if margin else 1
        )
        request = import_request_from(
            path=path, out=folder / "model", classes="a,b,c", mean="100,110,90", std="50,60,70", coarser=4
        )
        import_model(request)
        made[name] = folder
    return made


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """109 x 130 px, odd sides; nodata in a corner, and in all but one pixel of a class pixel."""
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    image = np.random.default_rng(0).integers(1, 255, (3, 37, 44), dtype=np.uint8)
    image = image.repeat(3, axis=1).repeat(3, axis=2)[:, :109, :130]
    image[:, :10, :9] = 0
    image[:, 80:84, 40:44] = 0
    image[:, 83, 43] = 7
    with rasterio.open(
        path, "w", driver="GTiff", width=130, height=109, count=3, dtype="uint8", nodata=0, crs="EPSG:32633",
        transform=rasterio.Affine(2, 0, 4e5, 0, -2, 5e6),
    ) as file:  # fmt: skip
        file.write(image)
    return path


def by_loop(folder: Path, image: NDArray[np.uint8], margin: int, overlap: int) -> NDArray[np.float32]:
    """Return logits of class pixels: each from the tile whose middle is nearest, tiles 64 px large."""
    session = ort.InferenceSession(str(folder / "net.onnx"), providers=["CPUExecutionProvider"])
    valid = (image != 0).any(0)
    filled = np.where(valid, image, MEAN).astype(np.float32)
    scored, step = 64 - 2 * margin, 64 - overlap
    shared = (scored - step) // 4
    rows, columns = (-(-side // 4) for side in valid.shape)
    made = np.zeros((3, rows, columns), np.float32)
    for top in range(0, max(1, valid.shape[0] - 4 * shared), step):
        for left in range(0, max(1, valid.shape[1] - 4 * shared), step):
            spans = []
            for start, size in ((top - margin, valid.shape[0]), (left - margin, valid.shape[1])):
                inside = np.arange(max(0, start), min(start + 64, size))
                mirrored = np.pad(inside, (max(0, -start), max(0, start + 64 - size)), mode="reflect")
                spans.append(mirrored)
            window = (filled[:, spans[0]][:, :, spans[1]] - MEAN) / STD
            logits = session.run(["scores"], {"image": window[None]})[0][0]
            cut = (shared // 2 if top else 0, shared // 2 if left else 0)
            first = (top // 4 + cut[0], left // 4 + cut[1])
            part = logits[:, cut[0] : rows - top // 4, cut[1] : columns - left // 4]
            made[:, first[0] : first[0] + part.shape[1], first[1] : first[1] + part.shape[2]] = part
    return made


@pytest.mark.parametrize("name", SHAPES)
def test_the_class_grid_is_that_of_the_network(
    models: dict[str, Path], scene: Path, tmp_path: Path, name: str
) -> None:
    margin = SHAPES[name][1]
    result = st.segment(
        scene, model=models[name] / "model", out=tmp_path / "out", format="cog,parquet", scores=True, **FIXED
    )
    with rasterio.open(scene) as file:
        image = file.read()
    overlap = round(result.report["settings"]["--overlap"] * 64)
    assert (overlap - 2 * margin) % 8 == 0
    logits = by_loop(models[name], image, margin, overlap)
    valid = np.pad((image != 0).any(0), ((0, 3), (0, 2))).reshape(28, 4, 33, 4).any((1, 3))
    with rasterio.open(tmp_path / "out" / "classes.tif") as file:
        assert (file.shape, file.transform) == ((28, 33), rasterio.Affine(8, 0, 4e5, 0, -8, 5e6))
        found = file.read(1)
    np.testing.assert_array_equal(found != 255, valid)
    assert valid[20, 10]
    best = np.sort(logits, axis=0)
    decided = (best[-1] - best[-2] > 1e-4) & valid
    assert decided.sum() > 0.97 * valid.sum()
    np.testing.assert_array_equal(found[decided], logits.argmax(0)[decided])
    assert sum(entry["area_planar"] for entry in result.report["classes"]) == valid.sum() * 64
    polygons = gpd.read_parquet(tmp_path / "out" / "polygons.parquet")
    assert polygons.area.sum() == valid.sum() * 64
    assert (tmp_path / "out" / "preview.png").exists()


def test_regions_roi_and_aoi_change_no_class_pixel(
    models: dict[str, Path], scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the network that is measured is the one that computes."""
    loaded = []
    monkeypatch.setattr(
        loaded_model, "load_rewritten", lambda *a, **k: (loaded.append(a[0]), load_rewritten(*a, **k))[1]
    )
    model = models["cropped and coarser"] / "model"
    asked = {**FIXED, "model": model, "format": "zarr", "preview": False, "blend": "gaussian"}
    whole = np.asarray(st.segment(scene, out=tmp_path / "whole", **asked).classes)
    # 8 m are a class pixel: the box touches rows 5 to 14 and columns 3 to 19
    roi = [4e5 + 25, 5e6 - 118, 4e5 + 159, 5e6 - 41]
    part = st.segment(scene, out=tmp_path / "roi", roi=roi, **asked).classes
    np.testing.assert_array_equal(part, whole[5:15, 3:20])
    assert part.rio.bounds() == (4e5 + 24, 5e6 - 120, 4e5 + 160, 5e6 - 40)
    gpd.GeoDataFrame(geometry=[box(4e5, 5e6 - 60, 4e5 + 90, 5e6)], crs="EPSG:32633").to_file(
        tmp_path / "aoi.gpkg"
    )
    inside = np.asarray(st.segment(scene, out=tmp_path / "aoi", aoi=tmp_path / "aoi.gpkg", **asked).classes)
    expected = np.full_like(whole, 255)
    expected[:8, :12] = whole[:8, :12]
    np.testing.assert_array_equal(inside, expected)
    assert len(loaded) == 3, "once for each run"


def test_without_the_option_and_for_other_models_nothing_changes(
    models: dict[str, Path], scene: Path, tmp_path: Path
) -> None:
    asked = {**FIXED, "format": "zarr", "preview": False}
    fine = st.segment(
        scene, model=models["a quarter"] / "model", out=tmp_path / "a", **(asked | {"grid": None})
    )
    assert fine.classes.shape == (109, 130)
    with pytest.raises(
        st.SegmentTilesError, match=r"another setting: --roi was \[0, 0, 109, 130\], is now \[0, 0, 28, 33\]"
    ):
        st.segment(scene, model=models["a quarter"] / "model", out=tmp_path / "a", **asked)
    report = st.plan(scene, model=models["a quarter"] / "model", grid="source").document
    assert (
        report["tiles"] == st.plan(scene, model=models["a quarter"] / "model", grid="model").document["tiles"]
    )


@pytest.mark.parametrize("grid", ["source", "model"])
def test_rows_of_tiles_that_are_not_computed_are_no_failure_of_the_network(
    models: dict[str, Path], scene: Path, tmp_path: Path, grid: str
) -> None:
    gpd.GeoDataFrame(geometry=[box(4e5, 5e6 - 20, 4e5 + 90, 5e6)], crs="EPSG:32633").to_file(
        tmp_path / "aoi.gpkg"
    )
    asked = {
        **FIXED,
        "model": models["a quarter"] / "model",
        "format": "zarr",
        "preview": False,
        "grid": grid,
    }
    asked |= {"aoi": tmp_path / "aoi.gpkg", "overlap": 0.0}
    assert st.plan(scene, **asked).document["skipped"] == 5
    report = st.segment(scene, out=tmp_path / "out", **asked).report
    assert (report["not_finite"], report["tiles"]["skipped"]) == (0, 5)


def test_a_slide_keeps_its_pixels_and_says_so(models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    with rasterio.open(path, "w", driver="PNG", width=90, height=80, count=3, dtype="uint8") as file:
        file.write(np.full((3, 80, 90), 9, np.uint8))
    asked: dict[str, Any] = {"model": models["a quarter"] / "model", "source_mpp": 0.5}
    plans = [st.plan(path, grid=grid, **asked).document for grid in ("source", "model")]
    assert [
        sum("class pixels of 4 px are made finer" in text for text in plan["warnings"]) for plan in plans
    ] == [0, 1]


def test_a_mask_does_not_limit_a_class_grid(models: dict[str, Path], scene: Path) -> None:
    model = models["a quarter"] / "model"
    with pytest.raises(UsageError, match="has class pixels of 4 px, which --mask-model does not limit"):
        st.plan(scene, model=model, grid="model", mask_model=f"{model}:a")


def test_models_whose_class_grids_differ_are_refused(
    models: dict[str, Path], graphs: ModuleType, scene: Path, tmp_path: Path
) -> None:
    path = graphs.write_graph(tmp_path / "net.onnx", sides=(64, 64), out=64, pad=1)
    import_model(
        import_request_from(path=path, out=tmp_path / "fine", classes="a,b,c", mean="1,1,1", std="1,1,1")
    )
    names = f"{models['a quarter'] / 'model'},{tmp_path / 'fine'}"
    with pytest.raises(UsageError, match="outputs of these models are coarser by 1 and 4"):
        st.plan(scene, model=names, grid="model")
