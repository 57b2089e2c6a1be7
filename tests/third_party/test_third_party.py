"""A distribution that adds to the program without touching it, used through the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
import zarr
from safetensors.torch import load_file

TOY = Path(__file__).parent / "toy_maps.py"
ENTRIES = {
    "segment_tiles.formats": {"numpy": "toy_maps:NUMPY", "areas": "toy_maps:AREAS"},
    "segment_tiles.checkpoints": {"toy": "toy_maps:READER"},
    "segment_tiles.backends": {"toy": "toy_maps:BACKEND"},
    "segment_tiles.kinds": {"picture": "toy_maps:KIND"},
}
BROKEN = {
    "segment_tiles.formats": {"shattered": "broken_maps:FORMAT", "cog": "broken_maps:COG"},
    "segment_tiles.backends": {"torch": "broken_maps:TORCH"},
}
Call = Callable[..., "subprocess.CompletedProcess[str]"]


def lay_down(folder: Path, distribution: str, module: str, source: str, entries: Mapping[str, Any]) -> None:
    """Install a distribution as `pip install --no-deps --target FOLDER` does: its module and its metadata."""
    metadata = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (metadata / "INSTALLER").write_text("pip\n")
    (metadata / "RECORD").write_text(f"{module}.py,,\n{metadata.name}/METADATA,,\n")
    (metadata / "entry_points.txt").write_text(
        "\n".join(
            line
            for group, named in entries.items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in named.items()))
        )
    )


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Calls the command line where the toys and what is broken are installed."""
    site = tmp_path_factory.mktemp("site")
    lay_down(site, "toy-maps", "toy_maps", TOY.read_text(), ENTRIES)
    lay_down(site, "broken-maps", "broken_maps", "import no_such_library_at_all", BROKEN)

    def done(*words: object) -> subprocess.CompletedProcess[str]:
        start = "from segment_tiles.cli.start import main; main()"
        return subprocess.run(
            [sys.executable, "-c", start, *map(str, words)],
            env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return done


@pytest.fixture(scope="module")
def toy_model(call: Call, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model, out of a checkpoint that only the toys read."""
    folder = tmp_path_factory.mktemp("toy-model")
    tensors = load_file(small_model / "weights.safetensors")
    torch.save({f"toys/{name}": tensor for name, tensor in tensors.items()}, folder / "toy.pth")
    words = ("--classes", "other,tree,water", "--tile", "64")
    imported = call("model", "import", folder / "toy.pth", "--out", folder / "model", *words)
    assert imported.returncode == 0, imported.stderr
    assert "toy-zoo" in imported.stdout
    return folder / "model"


@pytest.fixture(scope="module")
def toy_run(
    call: Call, toy_model: Path, aerial_crop: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], list[str]]:
    """Folder, report and stderr of a run with everything that the toys bring."""
    out = tmp_path_factory.mktemp("toys") / "out"
    picture = out.with_name("picture.npy")
    with rasterio.open(aerial_crop) as dataset:
        np.save(picture, dataset.read(window=((500, 620), (300, 440))))
    done = call(
        "run", picture, "--model", toy_model, "--out", out,
        "--format", "numpy,areas,cog", "--backend", "toy", "--device", "cpu", "--precision", "fp32",
        "--batch", "2", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout), done.stderr.splitlines()


def test_a_kind_a_format_a_backend_and_a_checkpoint_reader_from_outside(
    toy_run: tuple[Path, dict[str, Any], list[str]],
) -> None:
    out, report, said = toy_run
    assert report["outputs"][:4] == ["classes.zarr", "classes.tif", "polygons.areas.csv", "classes.npy"]
    assert (report["kind"], report["choices"]["backend"]) == ("picture", "toy")
    assert (report["source"]["height"], report["source"]["width"]) == (120, 140)
    assert "segment-tiles: warning: numpy knows no CRS" in said
    codes = np.load(out / "classes.npy")
    assert codes.shape == (120, 140)
    np.testing.assert_array_equal(codes, zarr.open_group(out / "classes.zarr", mode="r")["classes"][:])
    assert len(np.unique(codes)) > 1
    areas = [line.rpartition(",") for line in (out / "polygons.areas.csv").read_text().splitlines()]
    assert {name for name, _, _ in areas} <= {"other", "tree", "water"}
    total = sum(entry["area"] for entry in report["classes"])
    assert sum(float(area) for _, _, area in areas) == pytest.approx(total)
    assets = json.loads((out / "item.json").read_text())["assets"]
    assert assets["toy"]["type"] == "application/x-npy"
    assert assets["polygons.areas.csv"]["type"] == "text/csv"


def test_help_names_what_is_installed(call: Call) -> None:
    helped = " ".join(call("run", "--help").stdout.split())
    assert "numpy" in helped
    assert "torch or toy" in helped


def test_what_is_broken_or_has_a_taken_name_is_one_line_and_the_run_goes_on(
    call: Call, toy_run: tuple[Path, dict[str, Any], list[str]]
) -> None:
    out, _, said = toy_run
    taken = "is left out: segment-tiles has a"
    why = "it cannot be loaded (ModuleNotFoundError: No module named 'no_such_library_at_all')"
    assert sorted(line for line in said if "broken-maps" in line) == [
        f"segment-tiles: warning: backend 'torch' of broken-maps {taken} backend of this name",
        f"segment-tiles: warning: format 'cog' of broken-maps {taken} format of this name",
        f"segment-tiles: warning: format 'shattered' of broken-maps is left out: {why}",
    ]
    refused = call("export", out, "--format", "shattered")
    assert refused.returncode == 2
    assert "--format names 'shattered'; it must be of zarr, cog" in refused.stderr
    assert "Traceback" not in refused.stderr
