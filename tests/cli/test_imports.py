"""What a run of a GeoTIFF imports: nothing heavy that it does not use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import rasterio
from rasterio.windows import Window

from segment_tiles.workflows.demo import DEMO_SCENE

OF_OTHERS = (
    "matplotlib",
    "pyogrio",
    "geopandas",
    "pandas",
    "scipy",
    "tifffile",
    "aiohttp",
    "torchvision",
    "torch._dynamo",
    "timm",
    "monai",
    "sympy",
    "openvino",
    "onnxruntime",
    "distributed",
)
"""Needed by other sources and formats, to build a network, by training, by other backends, or by clusters."""
CODE = """if True:
    import sys
    from segment_tiles.cli.main import prepare_process, run_command_line
    arguments = ["run", sys.argv[1], "--model", "canopy-rgb", "--out", sys.argv[2], "--quiet",
                 "--backend", "torch", "--precision", "fp32", "--batch", "1", "--device", "cpu"]
    prepare_process(arguments)
    assert run_command_line(arguments) == 0
    print("imported:", *(name for name in sys.argv[3:] if name in sys.modules))
"""


def crop_of_the_demo(path: Path) -> Path:
    window = Window(0, 0, 300, 300)
    with rasterio.open(DEMO_SCENE) as scene:
        profile = scene.profile | {"width": 300, "height": 300, "transform": scene.window_transform(window)}
        with rasterio.open(path, "w", **profile) as crop:
            crop.write(scene.read(window=window))
    return path


def run_of_a_geotiff(scene: Path, out: Path, cache: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(scene), str(out), *OF_OTHERS],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_second_run_of_a_geotiff_imports_what_it_uses(tmp_path: Path) -> None:
    scene = crop_of_the_demo(tmp_path / "scene.tif")
    run_of_a_geotiff(scene, tmp_path / "first", tmp_path / "cache")
    lines = run_of_a_geotiff(scene, tmp_path / "second", tmp_path / "cache")
    assert lines == ["imported:"]
