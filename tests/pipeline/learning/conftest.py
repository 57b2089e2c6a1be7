"""A small labelled scene: bright discs on dark ground, with the boxes around them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from shapely.affinity import affine_transform

TRANSFORM = Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)
CRS = "EPSG:32612"


@dataclass(frozen=True)
class DiscScene:
    """A folder with scene.tif (3 bands), codes.tif (0 ground, 1 disc) and boxes.geojson."""

    folder: Path
    side: int = 160
    radius: int = 12
    centers: tuple[tuple[int, int], ...] = ((30, 30), (30, 100), (80, 60), (120, 30), (120, 120), (75, 130))

    def box_around(self, row: float, column: float) -> shapely.Polygon:
        """The box of a disc in world coordinates."""
        in_pixels = shapely.Point(column, row).buffer(self.radius).envelope
        box = affine_transform(in_pixels, TRANSFORM.to_shapely())
        assert isinstance(box, shapely.Polygon)
        return box

    def write_polygons(self, path: Path, geometries: list[Any], names: list[str] | None = None) -> None:
        """Write polygons with the column ``class``."""
        data = {"class": names or ["disc"] * len(geometries)}
        geopandas.GeoDataFrame(data, geometry=geometries, crs=CRS).to_file(path)

    def write(self) -> None:
        """Make the three files."""
        rows, columns = np.mgrid[: self.side, : self.side] + 0.5
        codes = np.zeros((self.side, self.side), dtype=np.uint8)
        for row, column in self.centers:
            codes[(rows - row) ** 2 + (columns - column) ** 2 < self.radius**2] = 1
        noise = np.random.default_rng(5).normal(0, 15, (3, self.side, self.side))
        values = (60 + 110 * codes[None] + noise).clip(0, 255).astype(np.uint8)
        profile = {
            "driver": "GTiff", "height": self.side, "width": self.side, "crs": CRS,
            "transform": TRANSFORM, "dtype": "uint8",
        }  # fmt: skip
        with rasterio.open(self.folder / "scene.tif", "w", count=3, **profile) as file:
            file.write(values)
        with rasterio.open(self.folder / "codes.tif", "w", count=1, **profile) as file:
            file.write(codes, 1)
        self.write_polygons(self.folder / "boxes.geojson", [self.box_around(*c) for c in self.centers])


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> DiscScene:
    """The scene, written once."""
    scene = DiscScene(tmp_path_factory.mktemp("discs"))
    scene.write()
    return scene


@pytest.fixture
def disc_settings() -> dict[str, Any]:
    """A training on the scene that takes seconds, as its YAML file would say it."""
    return {
        "name": "discs",
        "scenes": [
            {
                "name": "discs",
                "raster": "scene.tif",
                "labels": "boxes.geojson",
                "class_column": "class",
                "polygon_shape": "inscribed_ellipse",
                "unlabelled": "ground",
                "held_out": [{"row": 100, "column": 90, "height": 60, "width": 70}],
            }
        ],
        "classes": [
            {"name": "ground", "color": [200, 200, 200]},
            {"name": "disc", "color": [20, 120, 40]},
        ],
        "network": {
            "backbone": "resnet10t",
            "atrous_rates": [1, 2],
            "image_pooling": "off",
            "details": {"channels": 16, "low_level_channels": 8},
        },
        "window": 64,
        "overlap": 0.25,
        "steps": 4,
        "batch": 2,
        "validate_every": 2,
        "threads": 1,
        "loader_processes": 0,
        "augmentation": {"scale": [0.8, 1.25], "probability": 0.5},
    }
