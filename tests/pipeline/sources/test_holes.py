"""Holes of GeoTIFFs: a window counts as empty only where decoding finds nothing, and maps stay the same."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference import bands
from segment_tiles.pipeline.inference.bands import BandReader
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.sources.rasters.raster_file import RasterFile

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


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raster of lively values whose own mask says that only a box of them is data."""
    path = tmp_path_factory.mktemp("masked") / "masked.tif"
    values = np.random.default_rng(0).integers(1, 255, (3, HEIGHT, WIDTH), dtype=np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[DATA[1:]] = True
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", width=WIDTH, height=HEIGHT, count=3, dtype="uint8", tiled=True,
            blockxsize=SIDE, blockysize=SIDE, crs="EPSG:32633", transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000),
        ) as dataset,
    ):  # fmt: skip
        dataset.write(values)
        dataset.write_mask(mask)
    return path


def test_a_mask_of_its_own_tells_what_is_empty(masked: Path) -> None:
    with closing(RasterFile(str(masked))) as source:
        assert source.is_surely_empty(Window(0, 0, 130, WIDTH))
        assert source.is_surely_empty(Window(0, 0, HEIGHT, 70))
        assert not source.is_surely_empty(Window(0, 0, 131, 71))
        assert not source.is_surely_empty(Window(0, 0, 0, 0))


def test_parts_of_a_band_without_data_are_not_decoded(masked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lattice, region = Lattice(HEIGHT, WIDTH, SIDE, 16), Window(0, 0, HEIGHT, WIDTH)
    with closing(RasterFile(str(masked))) as source:
        whole = list(BandReader(source, lattice, region).read_ahead())
    monkeypatch.setattr(bands, "READ_AT_ONCE", SIDE)
    decoded: list[Window] = []
    with closing(RasterFile(str(masked))) as source:
        read = source.read_into
        monkeypatch.setattr(
            source, "read_into", lambda window, out: (decoded.append(window), read(window, out))[1]
        )
        in_parts = list(BandReader(source, lattice, region).read_ahead())
    data = Window.from_edges(DATA[1].start, DATA[2].start, DATA[1].stop, DATA[2].stop)
    assert decoded
    assert all(not window.intersect(data).is_empty for window in decoded)
    assert any(window.column >= SIDE for window in decoded)
    assert not any(window.column_stop <= SIDE for window in decoded), "columns 0 to 64 hold no data"
    for one, other in zip(whole, in_parts, strict=True):
        assert (one.values is None) == (other.values is None)
        if one.values is None or other.values is None:
            continue
        assert one.valid is not None
        np.testing.assert_array_equal(one.valid, other.valid)
        np.testing.assert_array_equal(one.wanted, other.wanted)
        np.testing.assert_array_equal(one.values * one.valid, other.values * one.valid)
