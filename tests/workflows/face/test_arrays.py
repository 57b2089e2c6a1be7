"""`segment_array`: the codes of `run`, whatever sort of array, and refusals in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as some
from numpy.typing import NDArray

import segment_tiles as st
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store
from segment_tiles.workflows.face.arrays import lazy
from segment_tiles.workflows.face.arrays.lazy import read_by

FIXED = {"precision": "fp32", "device": "cpu", "backend": "torch"}


@pytest.fixture(scope="module")
def pixels(scene: Path) -> NDArray[np.uint8]:
    with rasterio.open(scene) as file:
        return file.read()


@pytest.fixture(scope="module")
def codes(run_folder: Path) -> NDArray[np.uint8]:
    return np.asarray(array_of(open_store(run_folder / "classes.zarr"), "classes")[:])


def test_numpy_gives_the_codes_of_a_run(
    pixels: NDArray[np.uint8], codes: NDArray[np.uint8], small_model: Path
) -> None:
    told: list[tuple[int, int]] = []
    made = st.segment_array(
        pixels, model=small_model, nodata=0, progress=lambda done, total: told.append((done, total)), **FIXED
    )
    assert made.dtype == np.uint8
    assert (made == codes).all()
    assert len(np.unique(made)) == 4  # three classes and nodata
    assert told[-1] == (Lattice(*codes.shape, 64, 16).count,) * 2


def test_masked_pixels_and_nan_are_missing_as_nodata_is(
    pixels: NDArray[np.uint8], codes: NDArray[np.uint8], small_model: Path
) -> None:
    part, wanted = pixels[:, 200:400, 200:400], codes[200:400, 200:400]
    hidden = np.ma.masked_equal(part, 0)
    floating = np.where(part == 0, np.nan, part.astype(np.float32))
    plain = st.segment_array(part, model=small_model, nodata=0, **FIXED)
    assert (plain[:100, :60] == 255).all()
    assert (wanted[:100, :60] == 255).all()
    assert (st.segment_array(hidden, model=small_model, **FIXED) == plain).all()
    with pytest.warns(st.SegmentTilesWarning, match="the raster is float32"):
        assert (st.segment_array(floating, model=small_model, **FIXED) == plain).all()


@pytest.mark.parametrize("chunks", [(3, 300, 500), (1, 620, 100)])
def test_a_lazy_array_gives_the_codes_of_a_run_for_any_chunks(
    pixels: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    small_model: Path,
    chunks: tuple[int, int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lazy, "LARGEST_REGION", 1)  # so that there are four Regions
    made = st.segment_array(da.from_array(pixels, chunks=chunks), model=small_model, nodata=0, **FIXED)
    assert made.chunks == ((512, 108), (512, 65))
    assert (made.compute() == codes).all()
    # a part of it computes what it needs and no more
    assert (made[500:530, 10:20].compute(scheduler="synchronous") == codes[500:530, 10:20]).all()


def test_making_a_lazy_map_reads_nothing_once_the_choice_is_known(small_model: Path) -> None:
    def read(block_id: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
        raise AssertionError(block_id)

    st.segment_array(np.full((3, 700, 700), 9, np.uint8), model=small_model, **FIXED)
    image = da.map_blocks(
        read, chunks=((3,), (700,), (700,)), dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    assert st.segment_array(image, model=small_model, **FIXED).shape == (700, 700)


@given(
    height=some.integers(1, 90), width=some.integers(1, 90), tile=some.integers(1, 40), overlap=some.integers(0, 19),
    data=some.data(),
)  # fmt: skip
def test_a_part_holds_all_that_the_tiles_of_its_region_read(
    height: int, width: int, tile: int, overlap: int, data: Any
) -> None:
    lattice = Lattice(height, width, tile, min(2 * overlap, (tile - 1) // 2 * 2))
    top, left = data.draw(some.integers(0, height - 1)), data.draw(some.integers(0, width - 1))
    bottom, right = data.draw(some.integers(top + 1, height)), data.draw(some.integers(left + 1, width))
    region = Window.from_edges(top, left, bottom, right)
    part = read_by(lattice, region)
    whole = Window(0, 0, height, width)
    assert part.intersect(whole) == part
    for tile_read in lattice.tiles(region):
        inside = tile_read.read.intersect(whole)
        assert inside.intersect(part) == inside


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((40, 50, 3), np.uint8), "looks like rows x columns x bands; bands come first"),
        (np.zeros((3, 50, 3), np.uint8), r"say so with bands=\(1, 2, 3\)"),
        (np.zeros((1, 3, 50, 60), np.uint8), "must be bands x rows x columns"),
        (np.zeros((3, 50, 60), bool), "holds bool values; only integers and floats"),
        (np.zeros((3, 0, 60), np.uint8), "3 bands x 0 rows x 60 columns; it must have pixels"),
    ],
)
def test_arrays_that_cannot_be_understood_are_refused(
    image: NDArray[Any], words: str, small_model: Path
) -> None:
    with pytest.raises(st.SourceError, match=words):
        st.segment_array(image, model=small_model, **FIXED)


def test_what_does_not_fit_is_refused_as_on_the_command_line(small_model: Path) -> None:
    image = np.zeros((4, 50, 60), np.uint8)
    with pytest.raises(
        st.ModelError, match=r"4 bands are read, but model small takes 3.*choose them with --bands"
    ):
        st.segment_array(image, model=small_model)
    with pytest.raises(st.SourceError, match="has 4 bands, but --bands asks for band 5"):
        st.segment_array(image, model=small_model, bands=[5, 1, 2])
    with pytest.raises(st.UsageError, match="--blend is 'cosine'; it must be one of"):
        st.segment_array(image, model=small_model, blend="cosine")  # type: ignore[arg-type]
    with pytest.raises(st.UsageError, match="--nodata is 300, but the raster is uint8"):
        st.segment_array(image, model=small_model, bands=[1, 2, 3], nodata=300)
    with pytest.raises(TypeError, match="'blnd' is no option; did you mean 'blend'"):
        st.segment_array(image, model=small_model, blnd="hann")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="'out' is no option"):
        st.segment_array(image, model=small_model, out="map")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="'model' is missing"):
        st.segment_array(image)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"the image is a builtins\.list"):
        st.segment_array([[1]], model=small_model)  # type: ignore[call-overload]


def test_bands_are_taken_in_the_order_that_is_given(small_model: Path, pixels: NDArray[np.uint8]) -> None:
    part = pixels[:, 300:400, 300:400]
    turned = st.segment_array(part[::-1], model=small_model, bands="3,2,1", **FIXED)
    assert (turned == st.segment_array(part, model=small_model, **FIXED)).all()
    assert (turned != st.segment_array(part[::-1], model=small_model, **FIXED)).any()
