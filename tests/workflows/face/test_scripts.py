"""Scripts of users, which have no ``if __name__ == "__main__":``, start processes that do not run them again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from faults.small_training import TRAINING

SCRIPT = """
import json, sys
import segment_tiles as st

print("the script runs", flush=True)
scene, model, training = sys.argv[1:]
{call}
"""
CALLS = {
    "segment": (
        'st.segment(scene, model=model, out="out", workers=2, precision="fp32", backend="torch", batch=2, '
        'format="cog,geojson")'
    ),
    "polygonize": 'st.polygonize(scene, out="out.geojsonl", workers=2, vector_tile=64)',
    "train": 'st.train(training, data=".", out="out", device="cpu")',
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A scene, its class raster, and a training on them with a process that loads."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (3, 32, 16), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    profile = {"driver": "GTiff", "width": 128, "height": 256, "dtype": "uint8", "crs": "EPSG:32633",
               "transform": rasterio.Affine(1, 0, 1000, 0, -1, 2000)}  # fmt: skip
    for name, written in {"scene.tif": values, "classes.tif": values[:1] // 64}.items():
        with rasterio.open(tmp_path / name, "w", count=len(written), **profile) as dataset:
            dataset.write(written)
    training = TRAINING | {"loader_processes": 1}
    (tmp_path / "training.yaml").write_text(json.dumps(training))
    return tmp_path


@pytest.mark.parametrize(
    "name", ["polygonize", *(pytest.param(name, marks=pytest.mark.slow) for name in ("segment", "train"))]
)
def test_a_script_without_a_guard_runs_once(name: str, files: Path, small_model: Path) -> None:
    script = files / "script.py"
    script.write_text(SCRIPT.format(call=CALLS[name]))
    scene = "classes.tif" if name == "polygonize" else "scene.tif"
    done = subprocess.run(
        [sys.executable, str(script), scene, str(small_model), "training.yaml"],
        cwd=files, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the script runs") == 1
    assert any(path.name.startswith("out") for path in files.iterdir())


def test_what_a_script_is_to_know_is_said_once(files: Path, small_model: Path) -> None:
    """As a warning of Python, and not by its log too, which a script without handlers has on stderr."""
    script = files / "script.py"
    script.write_text(
        "import sys\nimport segment_tiles as st\n"
        'st.segment("scene.tif", model=sys.argv[1], out="out", precision="fp32", backend="torch", format="zarr", '
        'scaling="z-score:tile")\n'
    )
    done = subprocess.run(
        [sys.executable, str(script), str(small_model)],
        cwd=files, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("SegmentTilesWarning: ") == 1
    (said,) = (
        line.partition("SegmentTilesWarning: ")[2] for line in done.stderr.splitlines() if "Warning: " in line
    )
    assert done.stderr.count(said) == 1
