"""Evaluation of class maps on disk, against rasters and polygons, cut in windows."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import TrainingError, UsageError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.learning.scores import evaluation
from segment_tiles.pipeline.outputs.stores.store import array_of, create_store, open_store
from segment_tiles.workflows.training.evaluate import TruthSettings, evaluate

TRANSFORM = rasterio.Affine(2, 0, 5e5, 0, -2, 4e6)
CRS = "EPSG:32612"
NAMES = ["ground", "tree"]


def write_codes(path: Path, codes: np.ndarray, nodata: int | None = None, crs: str = CRS) -> Path:
    profile = {"driver": "GTiff", "height": codes.shape[0], "width": codes.shape[1], "count": 1}
    with rasterio.open(
        path, "w", dtype="uint8", crs=crs, transform=TRANSFORM, nodata=nodata, **profile
    ) as file:
        file.write(codes.astype(np.uint8), 1)
    return path


@pytest.fixture
def codes() -> tuple[np.ndarray, np.ndarray]:
    """Truth and map of 60 x 70 pixels that differ in places."""
    random = np.random.default_rng(3)
    truth = np.kron(random.integers(0, 2, (6, 7)), np.ones((10, 10))).astype(np.uint8)
    mapped = np.where(random.random(truth.shape) < 0.1, 1 - truth, truth).astype(np.uint8)
    return truth, mapped


def test_codes_of_truth_that_are_no_class_are_not_scored(
    codes: tuple[np.ndarray, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, mapped = codes
    odd = np.where(np.arange(70) < 9, 7, truth)
    paths = [str(write_codes(tmp_path / f"{n}.tif", array)) for n, array in (("map", mapped), ("truth", odd))]
    command = ["evaluate", *paths, "--classes", "ground,tree", "--json"]
    assert run_command_line(command) == 2
    assert "have the code 7" in capsys.readouterr().err
    assert run_command_line([*command, "--ignore-value", "7"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["pixels"] == 60 * 61
    assert document["accuracy"] == pytest.approx((truth == mapped)[:, 9:].mean(), abs=1e-6)


def test_scores_of_two_rasters(codes: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    truth, mapped = codes
    document = evaluate(
        write_codes(tmp_path / "map.tif", mapped),
        TruthSettings(str(write_codes(tmp_path / "truth.tif", truth))),
        class_names=NAMES,
        out=tmp_path / "out",
    )
    for code, name in enumerate(NAMES):
        both, either = ((truth == code) & (mapped == code)).sum(), ((truth == code) | (mapped == code)).sum()
        assert document["classes"][name]["iou"] == pytest.approx(both / either, abs=1e-6)
    assert document["accuracy"] == pytest.approx((truth == mapped).mean(), abs=1e-6)
    assert document["calibration_error"] is None
    assert json.loads((tmp_path / "out/evaluation.json").read_text()) == document
    with Image.open(tmp_path / "out/confusion.png") as picture:
        assert len(picture.convert("L").getcolors() or [0] * 99) > 10


def test_scores_do_not_depend_on_the_windows(
    codes: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, mapped = codes
    paths = (
        write_codes(tmp_path / "map.tif", mapped),
        TruthSettings(str(write_codes(tmp_path / "truth.tif", truth))),
    )
    whole = evaluate(*paths, class_names=NAMES)
    monkeypatch.setattr(evaluation, "WINDOW_SIDE", 17)
    assert evaluate(*paths, class_names=NAMES) == whole


def test_polygons_as_truth_in_another_crs(tmp_path: Path) -> None:
    mapped = np.zeros((60, 70), dtype=np.uint8)
    mapped[10:30, 20:50] = 1
    left, top = 5e5 + 2 * 20, 4e6 - 2 * 10
    box = shapely.box(left, top - 2 * 20, left + 2 * 30, top)
    frame = geopandas.GeoDataFrame({"kind": ["t"]}, geometry=[box], crs=CRS).to_crs("EPSG:4326")
    frame.to_file(tmp_path / "truth.gpkg")
    document = evaluate(
        write_codes(tmp_path / "map.tif", mapped),
        TruthSettings(
            str(tmp_path / "truth.gpkg"), class_column="kind", class_values={"t": "tree"}, unlabelled="ground"
        ),
        class_names=NAMES,
    )
    assert document["mean_iou"] > 0.99


def test_a_run_is_scored_with_its_confidence(tmp_path: Path) -> None:
    table = ClassTable((MapClass(0, "ground", (0, 0, 0)), MapClass(1, "tree", (0, 200, 0))))
    georef = GeoRef.from_affine(TRANSFORM, rasterio.CRS.from_string(CRS).to_wkt())
    group = open_store(create_store(tmp_path / "run/classes.zarr", (40, 50), georef, table), "r+")
    mapped = np.ones((40, 50), dtype=np.uint8)
    mapped[:, :5] = table.nodata
    array_of(group, "classes")[:] = mapped
    array_of(group, "confidence")[:] = 204  # says 0.8
    truth = np.ones((40, 50), dtype=np.uint8)
    truth[20:] = 0  # so it is right at 0.5
    document = evaluate(tmp_path / "run", TruthSettings(str(write_codes(tmp_path / "truth.tif", truth))))
    assert document["classes"]["tree"]["precision"] == 0.5
    assert document["calibration_error"] == pytest.approx(0.3)
    assert document["truth_without_class"] == 40 * 5


def test_ignored_truth_and_nodata_do_not_count(codes: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    truth, mapped = codes
    truth[:10], mapped[:, :10] = 255, 9
    document = evaluate(
        write_codes(tmp_path / "map.tif", mapped, nodata=9),
        TruthSettings(str(write_codes(tmp_path / "truth.tif", truth))),
        class_names=NAMES,
    )
    assert document["pixels"] == 50 * 60
    assert document["truth_without_class"] == 50 * 10


def test_bad_input_is_refused_in_one_line(codes: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    truth, mapped = codes
    class_map = write_codes(tmp_path / "map.tif", mapped)
    good = TruthSettings(str(write_codes(tmp_path / "truth.tif", truth)))
    other_size = TruthSettings(str(write_codes(tmp_path / "small.tif", truth[:9], nodata=7)))
    cases = [
        (lambda: evaluate(class_map, good), TrainingError, "--classes"),
        (lambda: evaluate(class_map, good, class_names=["ground"]), TrainingError, "code 1"),
        (lambda: evaluate(class_map, good, class_names=NAMES, boundary_widths=[0]), UsageError, "width is 0"),
        (
            lambda: evaluate(class_map, TruthSettings(good.path, unlabelled="sea"), class_names=NAMES),
            UsageError,
            "'sea'",
        ),
        (
            lambda: evaluate(class_map, TruthSettings(str(tmp_path / "no.tif")), class_names=NAMES),
            TrainingError,
            "cannot be read",
        ),
    ]
    for call, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)
    # a truth that covers a part is fine: the rest is not scored
    assert evaluate(class_map, other_size, class_names=NAMES)["pixels"] == 9 * 70


def test_a_damaged_block_of_the_truth_is_refused_in_one_line(
    codes: tuple[np.ndarray, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, mapped = codes
    write_codes(tmp_path / "map.tif", mapped)
    path = write_codes(tmp_path / "truth.tif", truth)
    path.write_bytes(path.read_bytes()[:-1000])  # values stand last in it
    arguments = ["evaluate", str(tmp_path / "map.tif"), str(path), "--classes", ",".join(NAMES)]
    assert run_command_line(arguments) == 2
    said = capsys.readouterr().err
    assert "truth.tif cannot be read in rows 0 to" in said
    assert "check the file or the connection" in said
    assert said.count("\n") == 1
