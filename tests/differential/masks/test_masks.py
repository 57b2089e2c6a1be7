"""A model as a mask, against NumPy: both models alone, and nodata where the classes of the one are left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import ChangedRunError, ModelError
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.model_packages.weights_import import import_model
from segment_tiles.workflows.options.model_import import import_request_from
from segment_tiles.workflows.plans.record import RunRecord, check_same_run
from segment_tiles.workflows.run.request import plan_run

HEIGHT, WIDTH = 150, 205
MAIN = (100.5, 90.5)
"""Thresholds of both bands."""
CLOUDS = 140.5
"""Of the first, above which a pixel is cloud."""
TILE = 32

Scene = tuple[Path, NDArray[np.uint8]]
Model = Callable[..., Path]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A raster of pixels of a metre: squares of 6 px, of which any 2 x 2 are alike, and noise; with missing pixels."""
    rng = np.random.default_rng(5)
    squares = rng.integers(1, 250, (25, 35), dtype=np.uint8).repeat(6, 0).repeat(6, 1)[:HEIGHT, :WIDTH]
    squares[:, 96:] = np.maximum(squares[:, 96:], 141)  # all of it is cloud
    values = np.stack([squares, rng.integers(1, 250, (HEIGHT, WIDTH), dtype=np.uint8)])
    values[:, 40:52, 20:50] = 0
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=2, height=HEIGHT, width=WIDTH, dtype="uint8", crs="EPSG:32633", nodata=0,
        transform=rasterio.Affine(1, 0, 500000, 0, -1, 5600000), tiled=True, blockxsize=64, blockysize=64,
    ) as dataset:  # fmt: skip
        dataset.write(values)
        dataset.descriptions = ("band1", "band2")
    return path, values


@pytest.fixture(scope="module")
def sized(threshold_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Gives a network of thresholds that was trained at some size of pixels, on bands of these names."""
    folder = tmp_path_factory.mktemp("sized")

    def model(
        thresholds: tuple[float, ...], size: float | None = None, unit: str = "m", names: tuple[str, ...] = ()
    ) -> Path:
        path = folder / "-".join(map(str, (*thresholds, size, unit, *names)))
        if not path.exists():
            shutil.copytree(threshold_model(len(thresholds), thresholds), path)
            document = json.loads((path / "model.json").read_text())
            if size is not None:
                document["properties"]["segment_tiles:pixel_size"] = {"value": size, "unit": unit}
            if names:
                document["properties"]["mlm:input"][0]["bands"] = list(names)
            (path / "model.json").write_text(json.dumps(document))
        return path

    return model


def tiles_without(stays: NDArray[np.bool_]) -> int:
    """Count the tiles that have no pixel that stays; such a network needs no overlap."""
    tops, lefts = (range(0, side, TILE) for side in stays.shape)
    return sum(not stays[top : top + TILE, left : left + TILE].any() for top in tops for left in lefts)


def inside_squares(shape: tuple[int, int], side: int, margin: int = 1) -> NDArray[np.bool_]:
    """Return which pixels lie at least so far inside squares of this side."""
    rows, columns = (np.arange(count) % side for count in shape)
    down, across = ((margin <= n) & (n < side - margin) for n in (rows, columns))
    return down[:, np.newaxis] & across


@pytest.mark.parametrize(("metres", "rule"), [(None, "keep=class1"), (2.0, "class1")])
def test_left_out_classes_are_nodata_and_nothing_else_changes(
    scene: Scene, sized: Model, expected_classes: Any, thresholded: Any, metres: float | None, rule: str
) -> None:
    path, values = scene
    mask = sized((CLOUDS,), metres)
    made, report, said = thresholded(path, sized(MAIN), mask_model=f"{mask}:{rule}")
    assert any("mask model" in line and "for the model" in line for line in said) == (metres is not None)
    assert not any("--resolution native" in line for line in said), "which says nothing of the mask"
    held, is_cloud = (values != 0).any(0), values[0] > CLOUDS
    stays = held & (is_cloud if rule.startswith("keep") else ~is_cloud)
    np.testing.assert_array_equal(made, expected_classes(values, stays, threshold=MAIN))
    told = report["mask_model"]
    assert (told["pixels_left_out"], told["classes"]) == ((held & ~stays).sum(), ["class1"])
    assert told["are"] == ("kept" if rule.startswith("keep") else "left out")
    assert report["nodata"]["pixels"] == (~stays).sum()
    assert report["tiles"]["skipped"] == tiles_without(stays), (
        "a tile that is left out whole is never computed"
    )
    assert report["tiles"]["computed"] == report["tiles"]["planned"] - report["tiles"]["skipped"] > 0


def test_several_classes_a_box_and_an_area_give_the_crop(
    scene: Scene, sized: Model, expected_classes: Any, thresholded: Any, tmp_path: Path
) -> None:
    path, values = scene
    top, left, bottom, right = 30, 10, 141, 111
    box = (500000 + left, 5600000 - bottom, 500000 + right, 5600000 - top)
    corners = [[500020, 5599990], [500100, 5599990], [500100, 5599880], [500020, 5599880], [500020, 5599990]]
    polygon = {"type": "Polygon", "coordinates": [corners]}
    crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [
        {"type": "Feature", "properties": {}, "geometry": polygon}]}))  # fmt: skip
    thresholds = (CLOUDS, 200.5)  # of the second band too
    options = {"mask_model": f"{sized(thresholds, 2.0)}:class1,class3", "roi": box}
    made, report, _ = thresholded(path, sized(MAIN), aoi=tmp_path / "area.geojson", **options)
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[10:120, 20:100] = True
    expected = expected_classes(values, (values != 0).any(0) & inside & ~(values[0] > CLOUDS), threshold=MAIN)
    np.testing.assert_array_equal(made, expected[top:bottom, left:right])
    assert report["mask_model"]["tiles"]["planned"] < 20, "the mask is limited to the box too"


def test_a_map_on_coarser_pixels_has_its_mask_there(scene: Scene, sized: Model, thresholded: Any) -> None:
    path, values = scene
    coarse = {"resolution": 2.0, "grid": "model", "bands": (1, 2)}  # the mask finds its own by name
    alone, _, _ = thresholded(path, sized(MAIN), **coarse)
    made, _, said = thresholded(path, sized(MAIN), mask_model=f"{sized((CLOUDS,))}:class1", **coarse)
    assert any(line.endswith("bands 1 are read, as their names band1 say") for line in said)
    is_cloud = (values[0] > CLOUDS)[1::2, 1::2]  # the pixel in which the middle lies
    assert alone.shape == (75, 103)
    is_cloud = np.pad(is_cloud, ((0, 0), (0, 1)), constant_values=True)  # the last column is half outside
    np.testing.assert_array_equal(made, np.where(is_cloud, 255, alone))


def test_bands_of_the_map_are_not_those_of_a_mask_that_takes_all(
    scene: Scene, sized: Model, expected_classes: Any, thresholded: Any, tmp_path: Path
) -> None:
    path, values = scene
    both = f"{sized((CLOUDS, 90.5), names=('a', 'b'))}:class3"
    made, _, _ = thresholded(path, sized((90.5,)), bands=(2,), mask_model=both)
    stays = (values[1] != 0) & ~((values[0] > CLOUDS) & (values[1] > 90.5))
    np.testing.assert_array_equal(made, expected_classes(values[1:], stays, threshold=90.5))
    three = f"{sized((1.5, 2.5, 3.5), names=('a', 'b', 'c'))}:class1"
    with pytest.raises(
        ModelError, match=r"1 band is read, but model .* --bands is that of the model of the map"
    ):
        plan_run(RunConfig(str(path), str(sized((90.5,))), tmp_path / "out", bands=(2,), mask_model=three))


def test_a_slide_is_masked_at_micrometres_of_its_own(
    sized: Model, expected_classes: Any, thresholded: Any, write_as: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(8)
    values = rng.integers(1, 250, (3, 10, 13), dtype=np.uint8).repeat(24, 1).repeat(24, 2)
    slide = write_as("slide", values, 0.5)
    main, pen = (100.5, 90.5, 120.5), (150.5, 20.5, 30.5)
    mask = f"{sized(pen, 2.0, 'micrometer')}:class7"
    made, report, _ = thresholded(slide, sized(main, 1.0, "micrometer"), tissue="off", mask_model=mask)
    half = values[:, ::2, ::2]  # all pixels of a square are alike
    stays = ~(half > np.reshape(pen, (3, 1, 1))).all(0)
    sure = inside_squares(stays.shape, 12, margin=4)
    np.testing.assert_array_equal(made[sure], expected_classes(half, stays, threshold=main)[sure])
    assert report["mask_model"]["tiles"]["planned"] < report["tiles"]["planned"]


def test_of_several_heads_the_mask_takes_the_one_with_its_classes(
    scene: Scene, graphs: ModuleType, thresholded: Any, tmp_path: Path
) -> None:
    graph = graphs.write_graph(tmp_path / "net.onnx", sides=("h", "w"), out="o", pad=1, batch="n", extra=True)
    model, heads = tmp_path / "model", ["cover=auxiliary:water,land,ice", "crop=scores:wheat,maize,rye"]
    asked = {"mean": "100,110,90", "std": "50,60,70", "constants": "gain=2", "tile": 64, "head": heads}
    import_model(import_request_from(path=graph, out=model, **asked))
    (crop, of_crop, _), (made, report, _) = (
        thresholded(scene[0], model, bands=(1, 2, 1), **options)
        for options in ({"head": "crop", "overlap": None}, {"mask_model": f"{model}:wheat,rye"})
    )
    heads = [told["model"]["head"] for told in (of_crop, report, report["mask_model"])]
    assert heads == ["crop", "cover", "crop"]
    settings = report["settings"]
    assert [settings[name] for name in ("--head", "mask --head")] == ["cover", "crop"]
    # told apart before model.json; runs of earlier versions, which do not name it, go on
    config = RunConfig(str(scene[0]), str(model), tmp_path)
    old = {name: value for name, value in settings.items() if not name.endswith("--head")}
    check_same_run(RunRecord(old, {}), settings, config, tmp_path)
    with pytest.raises(ChangedRunError, match="--head was cover, is now crop"):
        check_same_run(
            RunRecord(settings, {}), {**settings, "--head": "crop", "model.json": "x"}, config, tmp_path
        )
    np.testing.assert_array_equal(made == 255, np.isin(crop, (0, 2, 255)))
    assert len(np.unique(crop)) == 4


@pytest.mark.parametrize(
    ("map_is_finer", "pixels"),
    [
        pytest.param(True, {}, marks=pytest.mark.slow),
        (False, {}),
        (True, {"resolution": 20.0, "grid": "model"}),
    ],
    ids=["finer", "coarser", "resampled"],
)
def test_of_a_stac_item_the_mask_takes_assets_of_its_own(
    sized: Model, expected_classes: Any, thresholded: Any, tmp_path: Path, map_is_finer: bool, pixels: Any
) -> None:
    """Of pixels of 10 and 20 m; the mask lies on the grid of the map."""
    rng = np.random.default_rng(2)
    fine = rng.integers(1, 250, (1, 15, 18), dtype=np.uint8).repeat(6, 1).repeat(6, 2)
    other = rng.integers(1, 250, (1, 15, 18), dtype=np.uint8).repeat(6, 1).repeat(6, 2)
    files = {"red": (fine, 10), "swir16": (other[:, ::2, ::2], 20)}
    if not map_is_finer:
        files = {"red": (fine[:, ::2, ::2], 20), "swir16": (other, 10)}
    for name, (values, size) in files.items():
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", count=1, height=values.shape[1], width=values.shape[2],
            dtype="uint8", crs="EPSG:32633", transform=rasterio.Affine(size, 0, 500000, 0, -size, 5600000),
        ) as dataset:  # fmt: skip
            dataset.write(values)
    assets = {name: {"href": f"./{name}.tif", "type": "image/tiff", "roles": ["data"]} for name in files}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "scene", "geometry": None, "links": [],
            "properties": {"datetime": "2026-05-01T00:00:00Z"}, "assets": assets}  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    main, mask = sized((100.5,), names=("red",)), sized((CLOUDS,), names=("swir16",))
    options = {
        "mask_model": f"{mask}:class1",
        "resolution": "native",
        "assets": ("red",) if map_is_finer else (),
        **pixels,
    }
    made, _, _ = thresholded(tmp_path / "item.json", main, **options)
    step = 1 if map_is_finer and not pixels else 2
    values, cloud = fine[:, ::step, ::step], other[0, ::step, ::step]
    expected = expected_classes(values, cloud <= CLOUDS, threshold=100.5)
    # swir16 is brought onto the grid by bilinear: beside the edge of a square it is between two
    sure = inside_squares(cloud.shape, 6 // step)
    np.testing.assert_array_equal(made[sure], expected[sure])
