"""Labels that know their objects: label images and polygons, borders for any window, numbers that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.instances import BorderedLabels
from segment_tiles.pipeline.learning.data.scenes import LabelledScene
from segment_tiles.pipeline.learning.data.wanted import Shelf, WantedScene
from segment_tiles.pipeline.learning.object_settings import BorderSettings, NeighbourWeightSettings
from segment_tiles.pipeline.learning.objects.borders import border_pixels
from segment_tiles.pipeline.learning.scene_settings import SceneSettings

NAMES = ("ground", "cell", "cell border")
WHOLE = Window(0, 0, 30, 40)
BORDERS = WantedScene(borders=BorderSettings(of="cell", width=1), weight=NeighbourWeightSettings(sigma=2))


def write(path: Path, array: NDArray[Any], **more: Any) -> None:
    bands = array if array.ndim == 3 else array[None]
    profile = {"driver": "GTiff", "count": len(bands), "dtype": array.dtype, **more}
    with rasterio.open(path, "w", height=bands.shape[1], width=bands.shape[2], **profile) as file:
        file.write(bands)


def cells(*, high: int = 70_000) -> NDArray[np.uint32]:
    """Three cells, two of them touching, with numbers far apart."""
    numbers = np.zeros(WHOLE.shape, dtype=np.uint32)
    numbers[5:15, 5:15], numbers[5:15, 15:25], numbers[20:28, 30:38] = 3, high, 9
    return numbers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "scene.tif", np.full((1, *WHOLE.shape), 50, dtype=np.uint8))
    return tmp_path


def opened(folder: Path, wanted: WantedScene = BORDERS, **settings: Any) -> LabelledScene:
    scene = {"name": "s", "raster": "scene.tif", "labels": "labels.tif", "unlabelled": "ground"} | settings
    return LabelledScene(SceneSettings.model_validate(scene), folder, NAMES, wanted)


def test_a_label_image_gives_classes_borders_and_weights(folder: Path) -> None:
    numbers = cells()
    write(folder / "labels.tif", numbers)
    scene = opened(folder, instances="cell")
    border = border_pixels(numbers.astype(np.int64), 1, "touching")
    expected = np.where(border, 2, np.where(numbers > 0, 1, 0))
    whole = scene.read(WHOLE, with_held_out=True, with_weights=True)
    assert border.sum() == 24
    assert np.array_equal(whole.labels, expected)
    assert whole.weights is not None
    assert whole.weights[10, 15] > whole.weights[10, 14] * 0.99 > 5
    assert not whole.weights[expected == 1].any()
    for window in (Window(0, 0, 7, 15), Window(3, 15, 20, 9), Window(14, 14, 1, 1)):
        part = scene.read(window, with_held_out=True, with_weights=True)
        assert np.array_equal(part.labels, expected[window.slices()])
        assert part.weights is not None
        assert np.array_equal(part.weights, whole.weights[window.slices()])


def test_a_number_that_is_to_be_ignored_is_no_object(folder: Path) -> None:
    numbers = cells()
    numbers[:4, :6] = 65535
    write(folder / "labels.tif", numbers)
    read = opened(folder, instances="cell", ignored_values=[65535]).read(WHOLE, with_held_out=True).labels
    write(folder / "labels.tif", cells())
    expected = opened(folder, instances="cell").read(WHOLE, with_held_out=True).labels
    assert (read[:4, :6] == 255).all()
    read[:4, :6] = expected[:4, :6]
    assert np.array_equal(read, expected)


def test_polygons_are_objects_and_later_ones_lie_above(folder: Path) -> None:
    boxes = [shapely.box(5, -15, 17, -5), shapely.box(15, -15, 25, -5), shapely.box(30, -28, 38, -20)]
    features = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(box)} for box in boxes
    ]
    (folder / "labels.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    scene = opened(folder, labels="labels.geojson", instances="cell")
    border = border_pixels(cells().astype(np.int64), 1, "touching")
    assert np.array_equal(
        scene.read(WHOLE, with_held_out=True).labels, np.where(border, 2, np.where(cells() > 0, 1, 0))
    )
    assert any("2 polygons of s overlap others; later ones lie above" in note for note in scene.notes)


@pytest.mark.parametrize("shape", ["polygon", "ellipse_in_ignored_box"])
def test_polygons_that_later_ones_hide_are_noted(folder: Path, shape: str) -> None:
    """One is equal to another, one inside, one under two together; the last lies inside an earlier one."""
    corners = [(5, 5, 15, 15), (5, 5, 15, 15), (22, 8, 24, 10), (20, 5, 30, 15), (1, 19, 9, 25),
               (0, 18, 5, 26), (5, 18, 10, 26), (20, 20, 30, 28), (23, 23, 26, 25)]  # fmt: skip
    features = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shapely.box(a, -d, c, -b))}
        for a, b, c, d in corners
    ]
    (folder / "labels.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    scene = opened(folder, WantedScene(), labels="labels.geojson", instances="cell", polygon_shape=shape)
    whole = scene.labels.read_numbers(WHOLE, 1)  # type: ignore[attr-defined]
    lost = len(corners) - len(np.unique(whole[whole > 0]))
    assert lost == (3 if shape == "polygon" else 2)
    assert any(f"{lost} polygons are wholly under later ones in s" in note for note in scene.notes)


def test_pixels_of_the_model_are_finer_than_those_of_the_picture(folder: Path) -> None:
    write(folder / "labels.tif", cells())
    finer = WantedScene(pixel_size=0.25, pixel_unit="micrometer", borders=BORDERS.borders)
    scene = opened(folder, finer, instances="cell", pixel_size=0.5)
    assert scene.window == Window(0, 0, 60, 80)
    numbers = cells().astype(np.int64).repeat(2, 0).repeat(2, 1)
    expected = np.where(border_pixels(numbers, 1, "touching"), 2, np.where(numbers > 0, 1, 0))
    for window in (scene.window, Window(13, 21, 9, 17)):
        assert np.array_equal(scene.read(window, with_held_out=True).labels, expected[window.slices()])


def test_nodata_has_no_label_and_is_no_object(folder: Path) -> None:
    numbers = cells(high=65_535).astype(np.uint16)
    write(folder / "labels.tif", numbers, nodata=65_535)
    labels = opened(folder, instances="cell").read(WHOLE, with_held_out=True).labels
    assert (labels[numbers == 65_535] == 255).all()
    assert 2 not in labels


@pytest.mark.parametrize("nodata", [None, 0])
@pytest.mark.parametrize("warped", [False, True])
def test_zero_is_ground_and_any_number_an_object(folder: Path, nodata: int | None, warped: bool) -> None:
    """Our own label images declare 0 as nodata; 255 is an object like others."""
    numbers = cells(high=255).astype(np.uint8)
    here: dict[str, Any] = {"crs": "EPSG:32612", "transform": rasterio.Affine(1, 0, 7, 0, -1, 90)}
    write(folder / "scene.tif", np.full((1, *WHOLE.shape), 50, dtype=np.uint8), **here)
    if warped:  # a part of the scene, at half of its pixel size
        here["transform"] = rasterio.Affine(0.5, 0, 7, 0, -0.5, 90)
        write(folder / "labels.tif", numbers[:24].repeat(2, 0).repeat(2, 1), nodata=nodata, **here)
    else:
        write(folder / "labels.tif", numbers, nodata=nodata, **here)
    expected = (numbers > 0).astype(np.uint8)
    expected[24 if warped else 30 :] = 255
    scene = opened(folder, WantedScene(), instances="cell")
    assert np.array_equal(scene.read(WHOLE, with_held_out=True).labels, expected)


def test_a_mask_hides_pixels_of_a_label_image(folder: Path) -> None:
    numbers = cells().astype(np.uint16)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            folder / "labels.tif", "w", driver="GTiff", height=30, width=40, count=1, dtype="uint16", nodata=0
        ) as file,
    ):
        file.write(numbers, 1)
        file.write_mask(np.arange(30)[:, None].repeat(40, 1) < 24)
    expected = np.where(np.arange(30)[:, None] < 24, numbers > 0, 255)
    scene = opened(folder, WantedScene(), instances="cell")
    assert np.array_equal(scene.read(WHOLE, with_held_out=True).labels, expected)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.where(cells() == 3, -4, cells()).astype(np.int32), "the number -4"),
        (np.where(cells() == 3, 2.5, 0).astype(np.float32), "the number 2.5"),
        (np.where(cells() == 3, 2**24, 0).astype(np.float32), "the number 16777216.0 as float32"),
        (np.where(cells() == 3, 2**60, 0).astype(np.int64), "the number 1152921504606846976 as int64"),
    ],
    ids=["negative", "fraction", "float32", "int64"],
)
def test_numbers_that_cannot_be_objects_are_refused_in_one_line(
    folder: Path, array: NDArray[Any], words: str
) -> None:
    write(folder / "labels.tif", array)
    scene = opened(folder, instances="cell")
    with pytest.raises(TrainingError) as caught:
        scene.read(WHOLE, with_held_out=True)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_borders_of_a_class_raster_are_refused(folder: Path) -> None:
    write(folder / "labels.tif", (cells() > 0).astype(np.uint8))
    with pytest.raises(
        TrainingError, match="borders of cell need objects, but the labels of scene s are classes"
    ):
        opened(folder)


def test_objects_that_are_border_alone_are_counted(folder: Path) -> None:
    numbers = cells()
    numbers[5:15, 14] = 5
    write(folder / "labels.tif", numbers)
    labels = opened(folder, instances="cell").labels
    assert isinstance(labels, BorderedLabels)
    every, inner = labels.objects_of(WHOLE)
    assert every.tolist() == [3, 5, 9, 70_000]
    assert inner.tolist() == [3, 9, 70_000]


def test_a_shelf_closes_what_was_used_longest_ago(folder: Path) -> None:
    write(folder / "labels.tif", cells())
    shelf = Shelf(most=1)
    settings = SceneSettings(
        name="s", raster="scene.tif", labels="labels.tif", unlabelled="ground", instances="cell", folder="f"
    )
    first, second = (LabelledScene(settings, folder, NAMES, BORDERS, shelf) for _ in range(2))
    before = first.read(WHOLE, with_held_out=True).labels
    source = first.source
    second.read(WHOLE, with_held_out=True)
    assert first.source is not source
    assert np.array_equal(first.read(WHOLE, with_held_out=True).labels, before)
