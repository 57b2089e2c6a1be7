"""Bad words and bad files of ``train`` and ``evaluate``: exit status 2 and one line that helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from segment_tiles.cli.main import run_command_line


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run_command_line(list(words)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert "Traceback" not in captured.err
    return lines[0]


@pytest.fixture
def class_map(tmp_path: Path) -> Path:
    path = tmp_path / "map.tif"
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 4e6)}
    with rasterio.open(
        path, "w", driver="GTiff", height=20, width=20, count=1, dtype="uint8", **place
    ) as file:
        file.write(np.eye(20, dtype=np.uint8), 1)
    return path


def test_train_refuses_what_it_cannot_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert "cannot be read" in refused(capsys, "train", str(tmp_path / "no.yaml"), "--out", out)
    config = tmp_path / "c.yaml"
    config.write_text("name: abc\nscene: []\n")
    assert "scene" in refused(capsys, "train", str(config), "--out", out)
    config.write_text(
        "name: abc\n"
        "scenes: [{name: a, raster: no.tif, labels: no.gpkg, unlabelled: x}]\n"
        "classes: [{name: x, color: [0, 0, 0]}, {name: y, color: [1, 1, 1]}]\n"
    )
    assert "no such file" in refused(capsys, "train", str(config), "--out", out)
    assert "--device" in refused(capsys, "train", str(config), "--out", out, "--device", "tpu")
    assert "--leave-out" in refused(capsys, "train", str(config), "--out", out, "--leave-out", "b")


def test_evaluate_refuses_what_it_cannot_use(class_map: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(class_map), str(class_map)]
    assert "--classes" in refused(capsys, *words)
    named = [*words, "--classes", "a,b"]
    assert "--boundary-width" in refused(capsys, *named, "--boundary-width", "wide")
    assert "VALUE=CLASS" in refused(capsys, *named, "--class-value", "tree")
    assert "--polygon-shape" in refused(capsys, *named, "--polygon-shape", "star")


def test_evaluate_prints_tables_or_one_document(class_map: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(class_map), str(class_map), "--classes", "a,b"]
    assert run_command_line(words) == 0
    assert "mean IoU" in capsys.readouterr().out
    assert run_command_line([*words, "--json"]) == 0
    assert '"mean_iou": 1.0' in capsys.readouterr().out
