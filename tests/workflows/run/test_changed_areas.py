"""Files of polygons that limit a run, changed while it goes on: no map is made of two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from shapely.geometry import box

from segment_tiles.pipeline.errors import AreaChangedError
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment


def write_area(path: Path, right: float) -> None:
    path.unlink(missing_ok=True)
    gpd.GeoDataFrame(geometry=[box(1000, 1700, right, 2000)], crs=32633).to_file(path)


@pytest.mark.parametrize("option", ["aoi", "tissue"])
@pytest.mark.parametrize("is_gone", [False, True])
def test_an_area_that_changes_during_a_run(
    small_model: Path, tmp_path: Path, quiet: Any, write_as: Any, option: str, is_gone: bool
) -> None:
    area, scene = tmp_path / "area.gpkg", tmp_path / "scene.tif"
    values = np.random.default_rng(0).integers(0, 255, (3, 300, 300), dtype=np.uint8)
    transform = rasterio.Affine(1, 0, 1000, 0, -1, 2000)
    with rasterio.open(
        scene, "w", driver="GTiff", count=3, height=300, width=300, dtype="uint8", crs="EPSG:32633", transform=transform
    ) as raster:  # fmt: skip
        raster.write(values)
    write_area(area, 1060)
    first = area.read_bytes()
    limits: dict[str, Any] = {"aoi": area} if option == "aoi" else {"tissue": str(area)}
    config = RunConfig(
        str(scene),
        str(small_model),
        tmp_path / "out",
        precision="fp32",
        device="cpu",
        formats=("zarr",),
        **limits,
    )

    class Changes(type(quiet)):
        def planned(self, plan: object) -> None:
            if is_gone:
                area.unlink()
            else:
                write_area(area, 1200)

    with pytest.raises(
        AreaChangedError,
        match=rf"--{option} .*area\.gpkg: changed .*(not there|it is [0-9a-f]{{12}}).*--restart",
    ):
        segment(config, Changes())
    assert not (tmp_path / "out" / "classes.zarr").exists()
    area.write_bytes(first)
    assert segment(config, quiet).report["status"] == "complete"
