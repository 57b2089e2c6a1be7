"""What is asked of GDAL for a COG is known to its driver, and is what the file then has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.outputs import cog


@pytest.fixture
def asked_of_copies(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Options of every copy that is made, as rasterio is given them."""
    asked: list[dict[str, Any]] = []
    real = rasterio.shutil.copy

    def copy(source: str, target: str, **options: Any) -> None:
        asked.append(options)
        real(source, target, **options)

    monkeypatch.setattr(rasterio.shutil, "copy", copy)
    return asked


@pytest.mark.parametrize(
    ("name", "resampling", "predictor"), [("classes", "MODE", None), ("confidence", "AVERAGE", "2")]
)
def test_a_cog_is_made_as_asked(
    name: str,
    resampling: str,
    predictor: str | None,
    make_store: Callable[..., zarr.Group],
    patchy_classes: Callable[[int, int], NDArray[np.uint8]],
    asked_of_copies: list[dict[str, Any]],
    refused_options: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    path = tmp_path / f"{name}.tif"
    cog.write_cog(make_store(patchy_classes(1100, 700)), path, name=name)
    (asked,) = asked_of_copies
    options = {key: value for key, value in asked.items() if key != "driver"}
    assert refused_options("rasterio", "COG", "DMD_CREATIONOPTIONLIST", options) == []
    with rasterio.open(path) as dataset:
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        assert structure["LAYOUT"] == "COG"
        assert structure["COMPRESSION"] == options["compress"] == "DEFLATE"
        assert structure.get("PREDICTOR") == predictor
        assert options["overview_resampling"] == resampling, "its pixels: test_cog.py"
        assert dataset.block_shapes[0] == (options["blocksize"],) * 2
        assert ("STATISTICS_MEAN" in dataset.tags(1)) == (options["statistics"] == "YES")


def test_the_file_before_a_cog_is_made_as_asked(
    make_store: Callable[..., zarr.Group],
    patchy_classes: Callable[[int, int], NDArray[np.uint8]],
    refused_options: Callable[..., list[str]],
) -> None:
    group = make_store(patchy_classes(600, 600))
    layer = cog._Layer.of(group, "classes")
    profile = cog._temporary_profile(layer, cog.read_class_table(group), cog.read_georef(group))
    of_rasterio = {"driver", "height", "width", "count", "dtype", "crs", "transform", "nodata"}
    options = {name: value for name, value in profile.items() if name not in of_rasterio}
    assert refused_options("rasterio", "GTiff", "DMD_CREATIONOPTIONLIST", options) == []
