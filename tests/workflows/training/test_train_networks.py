"""Every network of the comparison is trained by ``train``, and its package is run by ``run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.pipeline.vectors.rasters.zarr_class_raster import ZarrClassRaster

HEAD = {"channels": 16, "low_level_channels": 8}
NETWORKS: dict[str, dict[str, Any]] = {
    "v1": {"arch": "deeplabv1", "backbone": "test_resnet", "output_stride": 8, "atrous_rates": [2]},
    "v2": {"arch": "deeplabv2", "backbone": "test_resnet", "output_stride": 8, "atrous_rates": [1, 2, 3, 4]},
    "v3": {"arch": "deeplabv3", "backbone": "test_resnet", "atrous_rates": [1, 2], "details": HEAD},
    "v3plus": {"arch": "deeplabv3plus", "backbone": "test_resnet", "atrous_rates": [1, 2], "details": HEAD},
    "unet": {"arch": "unet", "backbone": "tu-test_resnet", "image_pooling": "off"},
    "unet-monai": {"arch": "unet", "backbone": "basic", "details": {"widths": [8] * 6}},
    "segformer": {"arch": "segformer", "backbone": "mit_b0"},
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scene of 96 x 96 px, bright discs, and its codes."""
    folder = tmp_path_factory.mktemp("scene")
    rows, columns = np.mgrid[:96, :96]
    codes = ((rows % 32 - 16) ** 2 + (columns % 32 - 16) ** 2 < 90).astype(np.uint8)
    values = 60 + 110 * codes[None] + np.random.default_rng(1).normal(0, 15, (3, 96, 96))
    profile = {
        "driver": "GTiff", "height": 96, "width": 96, "dtype": "uint8", "crs": "EPSG:32612",
        "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 4e6),
    }  # fmt: skip
    with rasterio.open(folder / "scene.tif", "w", count=3, **profile) as file:
        file.write(values.clip(0, 255).astype(np.uint8))
    with rasterio.open(folder / "codes.tif", "w", count=1, **profile) as file:
        file.write(codes, 1)
    return folder


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_network_is_trained_and_run(name: str, scene: Path, tmp_path: Path) -> None:
    network = NETWORKS[name]
    document = {
        "name": f"net-{name}",
        "scenes": [
            {
                "name": "discs", "raster": "scene.tif", "labels": "codes.tif",
                "held_out": [{"row": 64, "column": 64, "height": 32, "width": 32}],
            }
        ],
        "classes": [{"name": "ground", "color": [200, 200, 200]}, {"name": "disc", "color": [20, 120, 40]}],
        "network": network, "window": 64, "overlap": 0.25, "steps": 2, "batch": 2, "validate_every": 2,
        "threads": 1, "loader_processes": 0,
    }  # fmt: skip
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    words = [
        "train",
        config,
        "--data",
        scene,
        "--out",
        tmp_path / "out",
        "--device",
        "cpu",
        "--quiet",
        "--json",
    ]
    assert run_command_line([str(word) for word in words]) == 0
    package = tmp_path / "out" / "model"
    assert load_manifest(package).architecture.arch == network["arch"]
    words = ["run", scene / "scene.tif", "--model", package, "--out", tmp_path / "map", "--format", "zarr"]
    # what is fastest here is not asked: to measure it takes longer than all the rest
    words += ["--device", "cpu", "--precision", "fp32", "--backend", "torch", "--quiet"]
    assert run_command_line([str(word) for word in words]) == 0
    result = ZarrClassRaster(tmp_path / "map" / "classes.zarr")
    assert set(np.unique(result.read(result.spec.window))) <= {0, 1}
    # the likelier of two classes has half of the certainty or more
    assert result.read_confidence(result.spec.window).min() >= 127
