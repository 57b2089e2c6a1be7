"""Holes of GeoTIFFs: a window counts as empty only where decoding finds nothing, and maps stay the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.bands import BandReader
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.sources.raster_file import RasterFile

HEIGHT, WIDTH, SIDE = 700, 300, 64
DATA = (slice(0, 3), slice(130, 200), slice(70, 290))


@pytest.fixture(scope="module", params=["pixel", "band"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same raster with holes, and with every chunk written."""
    folder = tmp_path_factory.mktemp("holes")
    values = np.zeros((3, HEIGHT, WIDTH), dtype=np.uint8)
    values[DATA] = np.random.default_rng(0).integers(0, 255, values[DATA].shape)
    paths = folder / "holes.tif", folder / "dense.tif"
    for path in paths:
        with rasterio.open(
            path, "w", driver="GTiff", width=WIDTH, height=HEIGHT, count=3, dtype="uint8", nodata=0,
            tiled=True, blockxsize=SIDE, blockysize=SIDE, interleave=request.param, compress="deflate",
            crs="EPSG:32633", transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000),
            sparse_ok=path.name == "holes.tif",
        ) as dataset:  # fmt: skip
            dataset.write(values)
    return paths


@given(st.data())
def test_empty_means_that_decoding_finds_nothing(files: tuple[Path, Path], data: st.DataObject) -> None:
    top, left = data.draw(st.integers(0, HEIGHT - 1)), data.draw(st.integers(0, WIDTH - 1))
    window = Window.from_edges(
        top, left, data.draw(st.integers(top + 1, HEIGHT)), data.draw(st.integers(left + 1, WIDTH))
    )
    for path in files:
        source = RasterFile(str(path))
        try:
            valid = source.valid(window, source.read(window))
            anything = valid is None or bool(valid.any())
            assert not (source.is_surely_empty(window) and anything)
        finally:
            source.close()


def test_holes_are_found_and_chunks_that_were_written_are_not(files: tuple[Path, Path]) -> None:
    below = Window(256, 0, HEIGHT - 256, WIDTH)
    with_holes, dense = (RasterFile(str(path)) for path in files)
    assert with_holes.is_surely_empty(below)
    assert not with_holes.is_surely_empty(Window(0, 0, HEIGHT, WIDTH))
    assert not dense.is_surely_empty(below)
    other = RasterFile(str(files[0]), nodata=255)
    assert not other.is_surely_empty(below), "holes read as 0, which is data where the user says 255"
    for source in (with_holes, dense, other):
        source.close()


def test_a_hole_is_not_read_and_the_map_is_the_same(files: tuple[Path, Path], small_model: Path) -> None:
    manifest = load_manifest(small_model)
    segmenter = Segmenter(load_network(small_model, manifest), manifest, torch.device("cpu"))
    lattice, region = Lattice(HEIGHT, WIDTH, SIDE, 16), Window(0, 0, HEIGHT, WIDTH)
    maps, unread, skipped = [], [], []
    for path in files:
        source = RasterFile(str(path))
        stream = RegionStream(source, segmenter, lattice, region, blend="gaussian", batch=2, with_scores=True)
        rows = list(stream)
        maps.append(
            [
                np.concatenate([getattr(r, n) for r in rows], axis=-2)
                for n in ("classes", "confidence", "scores")
            ]
        )
        skipped.append(stream.times.skipped)
        unread.append(sum(band.values is None for band in BandReader(source, lattice, region).read_ahead()))
        source.close()
    for holes, dense in zip(*maps, strict=True):
        np.testing.assert_array_equal(holes, dense)
    assert unread[0] > 5
    assert unread[1] == 0
    assert skipped[0] == skipped[1]
