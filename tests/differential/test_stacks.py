"""A stack has the pixels that GDAL's warper gives each of its files on the grid; nothing here knows our resampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject

from segment_tiles.pipeline.accepted import NodataRule
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.scaling.scaling import z_score
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.stacks.description import Member, StackDescription

GRID = Affine(10, 0, 600_000, 0, -10, 5_000_000)
SHAPE = (66, 84)


def write(
    path: Path, values: NDArray[Any], transform: Affine, nodata: float | None = None, crs: str = "EPSG:32633"
) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[1], height=values.shape[0], count=1, dtype=values.dtype,
        crs=crs, transform=transform, nodata=nodata, tiled=True, blockxsize=16, blockysize=16,
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
    return path


def noise(shape: tuple[int, int], dtype: str, holes: float = 0.0, seed: int = 0) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 250 if dtype == "uint8" else 9000, shape).astype(dtype)
    values[rng.random(shape) < holes] = 0
    return values


def by_gdal(path: Path, method: Resampling, mark: float, *, scale: float | None = None) -> NDArray[Any]:
    """What GDAL gives on the grid, ``mark`` where it gives nothing; the scale is said, for it guesses one by window."""
    with rasterio.open(path) as file:
        out = np.full(SHAPE, mark, file.dtypes[0])
        told = {} if scale is None else {"XSCALE": scale, "YSCALE": scale}
        reproject(
            rasterio.band(file, 1), out, dst_transform=GRID, dst_crs=file.crs, dst_nodata=mark, resampling=method,
            tolerance=0, **told,
        )  # fmt: skip
        return out


def opened(*members: Member, rule: NodataRule = "all", grid_of: str = "grid") -> Source:
    return open_source(StackDescription(members, grid_of).text(), nodata_rule=rule)


PLACES = {
    "20 m": (Affine(20, 0, 600_000, 0, -20, 5_000_000), (33, 42), 2.0),
    "60 m": (Affine(60, 0, 600_000, 0, -60, 5_000_000), (11, 14), 6.0),
    "60 m that begin outside": (Affine(60, 0, 599_940 + 17, 0, -60, 5_000_060 - 3), (13, 16), 6.0),
    "20 m that do not reach": (Affine(20, 0, 600_130, 0, -20, 4_999_870), (15, 21), 2.0),
    "10 m half a pixel off": (Affine(10, 0, 600_005, 0, -10, 5_000_005), (66, 84), 1.0),
    "the same grid, later and shorter": (Affine(10, 0, 600_200, 0, -10, 4_999_900), (40, 90), 1.0),
    "5 m": (Affine(5, 0, 600_000, 0, -5, 5_000_000), (132, 168), 0.5),
    "2.5 m that begin elsewhere": (Affine(2.5, 0, 600_022, 0, -2.5, 4_999_981), (250, 330), 0.25),
    "20 x 15 m": (Affine(20, 0, 600_000, 0, -15, 5_000_000), (44, 42), None),
    "20 m, the south first": (Affine(20, 0, 600_000, 0, 20, 5_000_000 - 660), (33, 42), 2.0),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("dtype", "holes"), [("uint16", 0.1), ("float32", 0.0), ("float32", 0.1)])
def test_a_member_is_as_gdal_warps_it(place: str, dtype: str, holes: float, tmp_path: Path) -> None:
    transform, shape, scale = PLACES[place]
    grid = write(tmp_path / "grid.tif", noise(SHAPE, dtype), GRID)
    file = write(tmp_path / "file.tif", noise(shape, dtype, holes, 1), transform, 0 if holes else None)
    mark = 65000.0
    for method in ("nearest", "bilinear"):
        source = opened(Member((str(grid),), name="grid"), Member((str(file),), resampling=method))
        values = source.read(source.spec.window)
        alone = opened(Member((str(grid),), name="grid"), Member((str(file),), resampling=method), rule="any")
        held = alone.valid(alone.spec.window, alone.read(alone.spec.window))
        expected = by_gdal(file, Resampling[method], mark, scale=scale)
        is_there = expected != mark
        np.testing.assert_array_equal(np.ones(SHAPE, bool) if held is None else held, is_there)
        if method == "nearest":
            np.testing.assert_array_equal(values[1][is_there], expected[is_there])
        elif dtype == "float32":
            np.testing.assert_allclose(values[1][is_there], expected[is_there], rtol=1e-6)
        else:  # a sum of weights that ends in a half may be rounded either way
            off = np.abs(values[1][is_there].astype(int) - expected[is_there])
            assert off.max() <= 1
            assert (off > 0).mean() < 0.02
        source.close()
        alone.close()


def test_every_window_is_the_crop_of_the_whole(tmp_path: Path) -> None:
    members = []
    for number, (place, (transform, shape, _)) in enumerate(PLACES.items()):
        values = noise(shape, "uint8", 0.1, number)
        name = str(write(tmp_path / f"{number}.tif", values, transform, 0 if number % 2 else None))
        members.append(Member((name,), name=place, resampling="nearest" if number % 3 == 1 else "bilinear"))
    members.append(Member((str(write(tmp_path / "grid.tif", noise(SHAPE, "uint8"), GRID)),), name="grid"))
    for rule in ("all", "any"):
        source = opened(*members, rule=rule)  # type: ignore[arg-type]
        whole = source.read(source.spec.window)
        held = source.valid(source.spec.window, whole)
        held = np.ones(SHAPE, bool) if held is None else held
        for row, column, height, width in ((0, 0, 1, 1), (65, 83, 1, 1), (7, 11, 30, 41), (40, 3, 13, 77)):
            window = Window(row, column, height, width)
            part = source.read(window)
            kept = source.valid(window, part)
            box = window.slices()
            np.testing.assert_array_equal(part, whole[:, *box])
            np.testing.assert_array_equal(np.ones(window.shape, bool) if kept is None else kept, held[box])
        source.close()


class Thresholds(torch.nn.Module):
    """Class number = bits of: band above its threshold."""

    def __init__(self, thresholds: list[float]) -> None:
        super().__init__()
        self.thresholds = thresholds

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        above = image > torch.tensor(self.thresholds)[None, :, None, None]
        code = sum(above[:, band].long() << band for band in range(3))
        return torch.nn.functional.one_hot(code, 8).permute(0, 3, 1, 2).float() * 20  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "methods", [("nearest", "nearest"), ("bilinear", "nearest"), ("bilinear", "bilinear")]
)
def test_thresholds_of_a_stack_are_those_of_the_bands_that_gdal_resamples(
    methods: tuple[str, str], tmp_path: Path
) -> None:
    files = []
    for size in (10, 20, 60):
        values = noise((SHAPE[0] * 10 // size, SHAPE[1] * 10 // size), "float32", seed=size)
        files.append(write(tmp_path / f"{size}.tif", values, GRID @ Affine.scale(size / 10)))
    members = [
        Member((str(file),), name=name, resampling=method)  # type: ignore[arg-type]
        for file, name, method in zip(files, ("grid", "b", "c"), ("nearest", *methods), strict=True)
    ]
    source = opened(*members)
    table = ClassTable(tuple(MapClass(i, f"c{i}", (i, i, i)) for i in range(8)))
    manifest = ModelManifest(
        name="thresholds", architecture=Architecture("test", "none", output_stride=8), bands=("a", "b", "c"),
        dtype="float32", scaling=z_score((0.0,) * 3, (1.0,) * 3), tile=32, overlap=0.25, classes=table,
    )  # fmt: skip
    cuts = [4321.25, 4500.125, 4765.4]
    segmenter = Segmenter(Thresholds(cuts), manifest, torch.device("cpu"))
    stream = RegionStream(
        iter([source]), segmenter, Lattice(*SHAPE, 32, 8), source.spec.window, blend="crop", batch=4
    )
    classes = np.concatenate([rows.classes for rows in stream])
    source.close()
    bands = [
        by_gdal(file, Resampling[method], -1)
        for file, method in zip(files, ("nearest", *methods), strict=True)
    ]
    expected = sum(
        (band > cut).astype(int) << bit for bit, (band, cut) in enumerate(zip(bands, cuts, strict=True))
    )
    near = np.any(
        [
            (method != "nearest") & (np.abs(band - cut) <= 1e-6 * cut)
            for band, cut, method in zip(bands, cuts, ("nearest", *methods), strict=True)
        ],
        axis=0,
    )
    assert near.mean() < 0.001
    np.testing.assert_array_equal(classes[~near], np.asarray(expected)[~near])
    assert len(np.unique(classes)) == 8


def test_a_level_is_that_of_the_files_on_the_grid(tmp_path: Path) -> None:
    """Coarser files have no overviews, and need none: they are brought onto the grid of the Level."""
    grid = write(tmp_path / "grid.tif", noise(SHAPE, "float32"), GRID)
    coarse = write(tmp_path / "coarse.tif", noise((11, 14), "float32", seed=1), GRID @ Affine.scale(6))
    with rasterio.open(grid, "r+") as dataset:
        dataset.build_overviews([2], Resampling.nearest)
    name = StackDescription((Member((str(grid),)), Member((str(coarse),)))).text()
    for level, scale in ((0, 1), (1, 2)):
        source = open_source(name, level=level)
        assert source.spec.window.shape == (SHAPE[0] // scale, SHAPE[1] // scale)
        assert source.spec.georef.transform[0] == 10 * scale
        values = source.read(source.spec.window)
        with rasterio.open(grid, **({"overview_level": 0} if level else {})) as dataset:
            np.testing.assert_array_equal(values[0], dataset.read(1))
        with rasterio.open(coarse) as dataset:
            expected = np.zeros(source.spec.window.shape, "float32")
            reproject(
                rasterio.band(dataset, 1), expected, dst_transform=GRID @ Affine.scale(scale), dst_crs=dataset.crs,
                resampling=Resampling.bilinear, tolerance=0,
            )  # fmt: skip
        np.testing.assert_allclose(values[1], expected, rtol=1e-6)
        source.close()
