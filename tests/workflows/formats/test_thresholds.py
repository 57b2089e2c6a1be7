"""Classes by thresholds: a run and an export of kept scores give the map that NumPy gives of the scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from numpy.typing import NDArray

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SegmentTilesError, UsageError
from segment_tiles.pipeline.outputs.stores.store import open_store, read_class_table
from segment_tiles.workflows.options.decision import named_score, parse_thresholds
from segment_tiles.workflows.run.export import export_run

Run = Callable[..., Path]
FILES = (
    "classes.tif",
    "classes.tif.aux.xml",
    "classes.qml",
    "confidence.tif",
    "polygons.parquet",
    "polygons.qml",
)


def by_numpy(
    scores: NDArray[np.uint8], empty: NDArray[np.bool_], tree: int, others: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return classes and confidence: tree from a byte on; else the highest of other and water from another byte on."""
    first, last = scores[0] >= scores[2], np.maximum(scores[0], scores[2])
    classes = np.where(last >= others, np.where(first, 0, 2), 3)
    confidence = np.where(last >= others, last, scores.max(axis=0))
    classes, confidence = (
        np.where(scores[1] >= tree, 1, classes),
        np.where(scores[1] >= tree, scores[1], confidence),
    )
    return np.where(empty, 255, classes).astype(np.uint8), np.where(empty, 0, confidence).astype(np.uint8)


@pytest.mark.parametrize(
    ("asked", "tree", "others"),
    [
        ({"threshold": "tree=0.3", "unsure": 0.4}, 77, 102),
        ({"threshold": "tree=0.5"}, 128, 0),
    ],
)
def test_a_run_and_an_export_give_the_map_that_numpy_gives(
    scored: Path, run_blobs: Run, tmp_path: Path, asked: dict[str, Any], tree: int, others: int
) -> None:
    made = run_blobs(tmp_path / "run", format="cog,confidence,parquet", scores=True, **asked)
    before, after = (zarr.open_group(folder / "classes.zarr", mode="r") for folder in (scored, made))
    scores = before["scores"][:]
    expected = by_numpy(scores, before["classes"][:] == 255, tree, others)
    assert 0 < (expected[0] == 1).sum() < expected[0].size
    np.testing.assert_array_equal(after["classes"][:], expected[0])
    np.testing.assert_array_equal(after["confidence"][:], expected[1])
    np.testing.assert_array_equal(after["scores"][:], scores)
    names = ("other", "tree", "water", *(("not sure",) if others else ()))
    assert read_class_table(open_store(made / "classes.zarr")).names == names
    counts = {
        entry["name"]: entry["pixels"] for entry in json.loads((made / "report.json").read_text())["classes"]
    }
    assert counts == {name: int((expected[0] == code).sum()) for code, name in enumerate(names)}

    words = [f"--{name}={value}" for name, value in asked.items()]
    assert run_command_line(["export", str(scored), "--format", "cog,confidence,parquet,scores", *words]) == 0
    for name in FILES:
        assert (scored / name).read_bytes() == (made / name).read_bytes(), name
    # the store, and what the run says of it, stay
    np.testing.assert_array_equal(
        before["classes"][:], zarr.open_group(scored / "classes.zarr")["classes"][:]
    )
    assert json.loads((scored / "report.json").read_text())["classes"][-1]["name"] == "water"
    assets = json.loads((scored / "item.json").read_text())["assets"]
    found = {entry["title"]: entry.get("count") for entry in assets["classes"]["classification:classes"]}
    assert {name: found[name] for name in names} == counts
    assert not list((scored / ".segment-tiles").glob("decided*"))
    # a run that was decided by other thresholds can be decided anew
    export_run(made, ["cog"])
    export_run(made, ["cog"], threshold=("tree=0.9",), unsure=0.6)
    with rasterio.open(made / "classes.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), by_numpy(scores, expected[0] == 255, 230, 153)[0])


def test_thresholds_come_before_a_reclass(scored: Path, run_blobs: Run, tmp_path: Path) -> None:
    (tmp_path / "merged.yaml").write_text("rest: {from: [other, water, not sure], code: 9}\n")
    asked: dict[str, Any] = {"threshold": "tree=0.3", "unsure": 0.4, "reclass": tmp_path / "merged.yaml"}
    made = run_blobs(tmp_path / "run", format="cog", scores=True, **asked)
    store = zarr.open_group(scored / "classes.zarr", mode="r")
    codes, _ = by_numpy(store["scores"][:], store["classes"][:] == 255, 77, 102)
    expected = np.where(codes == 1, 1, np.where(codes == 255, 255, 9))
    np.testing.assert_array_equal(zarr.open_group(made / "classes.zarr", mode="r")["classes"][:], expected)
    export_run(scored, ["cog"], threshold=("tree=0.3",), unsure=0.4, reclass=tmp_path / "merged.yaml")
    for name in FILES[:3]:
        assert (scored / name).read_bytes() == (made / name).read_bytes(), name
    with pytest.raises(UsageError, match="changed by its --reclass"):
        export_run(made, ["cog"], unsure=0.4)


@pytest.mark.parametrize(
    "text",
    [
        "tree: {from: tree, code: 5}",  # the names of the model in its order, with a code that no score has
        "other: {from: tree, code: 0}\ntree: {from: other, code: 1}",  # ... and with swapped codes
    ],
)
def test_scores_of_a_run_whose_classes_kept_their_names_are_refused(
    run_blobs: Run, tmp_path: Path, text: str, refused: Callable[..., None]
) -> None:
    (tmp_path / "codes.yaml").write_text(text)
    made = run_blobs(tmp_path / "run", format="zarr", scores=True, reclass=tmp_path / "codes.yaml")
    refused(
        ["export", str(made), "--format", "cog", "--threshold", "tree=0.3"],
        "changed by its --reclass; run again with both, or export with --reclass from a run without",
    )


def test_a_score_close_to_1_keeps_its_digits() -> None:
    assert parse_thresholds("water=0.9999999,tree=0.12345678") == ("water=0.9999999", "tree=0.12345678")
    assert named_score(parse_thresholds("water=0.9999999")[0]) == ("water", 0.9999999)


def test_other_thresholds_are_another_run(run_blobs: Run, tmp_path: Path) -> None:
    out = run_blobs(tmp_path / "run", format="zarr")
    with pytest.raises(
        SegmentTilesError, match=r"another setting: --threshold was None, is now \{'tree': 102\}"
    ):
        run_blobs(out, format="zarr", threshold="tree=0.4")
    with pytest.raises(UsageError, match="keeps only with --scores"):
        export_run(out, ["cog"], unsure=0.4)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--threshold", "tree=1"], "--threshold is tree=1; give a score above 0 and below 1"),
        (["--threshold", "tree=0.4,water"], "--threshold is 'water'; give a class and its score"),
        (["--threshold", "tree=nan"], "--threshold is tree=nan; give a score"),
        (["--unsure", "0"], "--unsure is 0; give a score above 0 and below 1"),
        (["--unsure", "half"], "--unsure is half; give a score"),
    ],
)
def test_scores_that_are_none_are_refused_in_one_line(
    blob_scene: Path, small_model: Path, tmp_path: Path, capsys: Any, options: list[str], text: str
) -> None:
    for words in (["run", "--out", str(tmp_path / "out")], ["plan"]):
        assert (
            run_command_line([words[0], str(blob_scene), "--model", str(small_model), *words[1:], *options])
            == 2
        )
        assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
