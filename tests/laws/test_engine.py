"""The laws (docs/architecture.md#laws): what makes the map trustworthy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from segment_tiles.pipeline.accepted import BLENDS
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.lattice import Lattice, overlap_pixels
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.accumulator import BandAccumulator
from segment_tiles.pipeline.inference.finished_rows import FinishedRows
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.models.packages.geometry import OutputGeometry
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.scaling.scaling import z_score
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.sources.areas.tissue import TissueArea, TissueMask
from segment_tiles.pipeline.sources.array import ArraySource
from segment_tiles.pipeline.sources.protocol import Source

CPU = torch.device("cpu")
TABLE = ClassTable(tuple(MapClass(i, f"class {i}", (i, i, i)) for i in range(3)))


class ExactNetwork(nn.Module):
    """Two 3 x 3 convolutions of small whole numbers: exact in float32, in any order of sums.

    Without padding it crops its input by 2 pixels on each side.
    """

    def __init__(self, bands: int = 3, padding: int = 1) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.first = nn.Conv2d(bands, 4, 3, padding=padding, bias=False)
        self.second = nn.Conv2d(4, TABLE.count, 3, padding=padding, bias=False)
        for conv in (self.first, self.second):
            weights = torch.randint(-2, 3, conv.weight.shape, generator=generator)
            conv.weight = nn.Parameter(weights.float(), requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(image))) / 64


CROPPED = 2
"""Margin of an ExactNetwork without padding."""


def segmenter(tile: int, network: nn.Module | None = None, margin: int = 0) -> Segmenter:
    manifest = ModelManifest(
        name="exact",
        architecture=Architecture("test", "none", output_stride=8),
        bands=("a", "b", "c"),
        dtype="uint8",
        scaling=z_score((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        tile=tile,
        overlap=0.25,
        classes=TABLE,
        output=OutputGeometry(margin),
    )
    return Segmenter(network or ExactNetwork(padding=0 if margin else 1), manifest, CPU)


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 8, (3, height, width), dtype=np.uint8)


def run(
    source: Source,
    lattice: Lattice,
    region: Window,
    blend: str,
    *,
    batch: int = 2,
    network: nn.Module | None = None,
    area: Any = None,
) -> tuple[NDArray[Any], ...]:
    stream = RegionStream(
        source, segmenter(lattice.tile, network, lattice.margin), lattice, region, blend=blend, batch=batch, area=area,
        with_scores=True,
    )  # fmt: skip
    return stitched(list(stream), region)


def stitched(rows: Sequence[FinishedRows], region: Window) -> tuple[NDArray[Any], ...]:
    starts = [part.row for part in rows]
    heights = [part.classes.shape[0] for part in rows]
    assert starts == [region.row + sum(heights[:i]) for i in range(len(rows))]
    assert sum(heights) == region.height
    scores = [part.scores for part in rows if part.scores is not None]
    return (
        np.concatenate([part.classes for part in rows]),
        np.concatenate([part.confidence for part in rows]),
        np.concatenate(scores, axis=1),
    )


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    tile = draw(st.sampled_from([16, 24, 32]))
    fraction = draw(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9]))
    overlap = overlap_pixels(tile, fraction)
    margin = draw(st.sampled_from([0, CROPPED])) if overlap >= 2 * CROPPED else 0
    sides = [1, max(1, overlap // 2 - 1), tile - 1, tile, tile + 1, 53, 67]
    return Lattice(draw(st.sampled_from(sides)), draw(st.sampled_from(sides)), tile, overlap, margin)


@given(lattices(), st.sampled_from(BLENDS), st.floats(0, 1, width=32))
def test_constant_scores_give_exactly_that_constant(lattice: Lattice, blend: str, share: float) -> None:
    constant = torch.tensor([share, 1 - share], dtype=torch.float32)
    columns = range(lattice.columns.count)
    accumulator = BandAccumulator(lattice, columns, 2, blend, CPU)
    seen = torch.full((lattice.height, lattice.width), -1.0)
    for row_index in range(lattice.rows.count):
        for column_index in columns:
            tile = constant[:, None, None].expand(2, lattice.scored, lattice.scored).clone()
            final = accumulator.add(row_index, column_index, tile)
            assert (final.scores == constant[:, None, None]).all()
            height, width = final.scores.shape[1:]
            part = seen[final.row : final.row + height, final.column : final.column + width]
            assert (part == -1).all(), "a pixel is final once"
            part.fill_(1.0)
    assert (seen == 1).all(), "every pixel is final in the end"


@given(lattices(), st.sampled_from(BLENDS), st.data())
@settings(max_examples=40)
def test_a_region_equals_the_crop_of_the_whole(lattice: Lattice, blend: str, data: st.DataObject) -> None:
    check_region(ArraySource(picture(lattice.height, lattice.width)), lattice, blend, data)


READERS = ("slide", "ome-tiff", "ome-zarr-0.5", "resampled", "ground", "volume", "stack")
"""Ways to read the same picture; the laws hold for all."""


@pytest.mark.parametrize("reader", READERS)
@given(lattices(), st.sampled_from(BLENDS), st.data())
@settings(max_examples=6)
def test_a_region_of_any_reader_equals_the_crop_of_the_whole(
    open_as: Callable[..., Source], reader: str, lattice: Lattice, blend: str, data: st.DataObject
) -> None:
    check_region(open_as(reader, picture(lattice.height, lattice.width)), lattice, blend, data)


def check_region(source: Source, lattice: Lattice, blend: str, data: st.DataObject) -> None:
    whole = run(source, lattice, Window(0, 0, lattice.height, lattice.width), blend)
    top = data.draw(st.integers(0, lattice.height - 1))
    left = data.draw(st.integers(0, lattice.width - 1))
    bottom = data.draw(st.integers(top + 1, lattice.height))
    right = data.draw(st.integers(left + 1, lattice.width))
    region = Window.from_edges(top, left, bottom, right)
    for part, all_of_it in zip(run(source, lattice, region, blend), whole, strict=True):
        np.testing.assert_array_equal(part, all_of_it[..., top:bottom, left:right])


@given(
    st.sampled_from([(16, 8, 0), (32, 16, 0), (32, 24, 0), (16, 4, 2), (16, 8, 2), (32, 24, 2)]),
    st.integers(1, 90),
    st.integers(1, 90),
)
def test_crop_with_enough_halo_equals_the_whole_image(
    sides: tuple[int, int, int], height: int, width: int
) -> None:
    tile, overlap, margin = sides
    if not margin:
        height, width = max(height, 30), max(width, 30)
    check_crop(ArraySource(picture(height, width)), Lattice(height, width, tile, overlap, margin))


@pytest.mark.parametrize("reader", READERS)
@given(st.integers(30, 90), st.integers(30, 90))
@settings(max_examples=4)
def test_crop_of_any_reader_equals_the_whole_image(
    open_as: Callable[..., Source], reader: str, height: int, width: int
) -> None:
    check_crop(open_as(reader, picture(height, width)), Lattice(height, width, 32, 16))


def check_crop(source: Source, lattice: Lattice) -> None:
    height, width, tile, margin = lattice.height, lattice.width, lattice.tile, lattice.margin
    values = source.read(Window(0, 0, height, width))
    tiled = run(source, lattice, Window(0, 0, height, width), "crop")
    # the lattice ends beyond the last row and column, in reflected pixels: so does the whole image here
    below = lattice.rows.start(lattice.rows.count - 1) + tile - height
    beside = lattice.columns.start(lattice.columns.count - 1) + tile - width
    # a network that crops needs its margin beyond every edge
    rows, columns = ((margin, margin), (margin, margin)) if margin else ((0, below), (0, beside))
    extended = np.pad(values, ((0, 0), rows, columns), mode="reflect")
    network = ExactNetwork(padding=0 if margin else 1)
    with torch.inference_mode():
        scores = torch.softmax(network(torch.from_numpy(extended)[None].float()), 1)[0]
    scores = scores[:, :height, :width]
    np.testing.assert_array_equal(tiled[0], scores.argmax(0).numpy())
    shares = scores.numpy() * np.float32(255) + np.float32(0.5)
    np.testing.assert_array_equal(tiled[2], np.floor(shares).astype(np.uint8))


@given(lattices(), st.sampled_from([1, 3, 4]))
@settings(max_examples=15)
def test_the_batch_size_of_an_exact_network_changes_nothing(lattice: Lattice, batch: int) -> None:
    source = ArraySource(picture(lattice.height, lattice.width))
    window = Window(0, 0, lattice.height, lattice.width)
    for one, other in zip(
        run(source, lattice, window, "gaussian", batch=batch),
        run(source, lattice, window, "gaussian", batch=2),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


class CountingSource(ArraySource):
    """Counts how often each pixel is read."""

    def __init__(self, values: NDArray[Any]) -> None:
        super().__init__(values)
        self.reads = np.zeros(values.shape[1:], dtype=int)

    def read(self, window: Window) -> NDArray[Any]:
        self.reads[window.slices()] += 1
        return super().read(window)


@pytest.mark.parametrize(("overlap", "margin"), [(0, 0), (16, 0), (28, 0), (4, 2), (28, 2)])
def test_every_pixel_is_read_once(overlap: int, margin: int) -> None:
    source = CountingSource(picture(101, 67))
    run(source, Lattice(101, 67, 32, overlap, margin), Window(0, 0, 101, 67), "gaussian")
    assert (source.reads == 1).all()


class SeeingNetwork(nn.Module):
    """Gives the value of band 0 as class 1, and remembers how many tiles it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        return torch.stack([torch.full_like(image[:, 0], 3.5), image[:, 0], image[:, 0] - 99], dim=1)


def test_invalid_pixels_come_out_as_nodata_and_empty_tiles_are_not_computed() -> None:
    values = picture(96, 96)
    valid = np.ones((96, 96), dtype=bool)
    valid[:, 40:] = False
    valid[:10, :10] = False
    source = ArraySource(values, valid=valid)
    lattice = Lattice(96, 96, 32, 0)
    stream = RegionStream(
        source, segmenter(32, SeeingNetwork()), lattice, Window(0, 0, 96, 96), blend="crop", batch=1
    )
    rows = list(stream)
    classes = np.concatenate([part.classes for part in rows])
    confidence = np.concatenate([part.confidence for part in rows])
    np.testing.assert_array_equal(classes == TABLE.nodata, ~valid)
    assert (confidence[~valid] == 0).all()
    np.testing.assert_array_equal(classes[valid], (values[0] > 3.5)[valid])
    assert (stream.times.computed, stream.times.skipped) == (6, 3)


class HalfPlane:
    """An AOI that is the left half: what the engine asks of an AreaOfInterest."""

    def __init__(self, stop: int) -> None:
        self.stop = stop

    def meets(self, window: Window) -> bool:
        return window.column < self.stop

    def mask(self, window: Window) -> NDArray[np.bool_]:
        columns = np.arange(window.column, window.column_stop)
        return np.broadcast_to(columns < self.stop, window.shape).copy()


@given(lattices(), st.integers(1, 66), st.sampled_from(BLENDS))
@settings(max_examples=25)
def test_an_aoi_limits_the_result_but_never_what_the_network_sees(
    lattice: Lattice, stop: int, blend: str
) -> None:
    source = ArraySource(picture(lattice.height, lattice.width))
    window = Window(0, 0, lattice.height, lattice.width)
    whole = run(source, lattice, window, blend)
    inside = run(source, lattice, window, blend, area=HalfPlane(stop))
    for part, all_of_it in zip(inside, whole, strict=True):
        np.testing.assert_array_equal(part[..., :stop], all_of_it[..., :stop])
    assert (inside[0][:, stop:] == TABLE.nodata).all()


@pytest.mark.parametrize("reader", ["array", *READERS])
@given(lattices(), st.integers(0, 99), st.sampled_from(BLENDS))
@settings(max_examples=6)
def test_tissue_limits_the_result_but_never_what_the_network_sees(
    open_as: Callable[..., Source], reader: str, lattice: Lattice, seed: int, blend: str
) -> None:
    pixels = np.random.default_rng(seed).random((6, 5)) > 0.7
    mask = TissueMask(6, 5, np.packbits(pixels).tobytes(), 0.2)
    tissue = TissueArea(mask, lattice.height, lattice.width)
    source = open_as(reader, picture(lattice.height, lattice.width))
    window = Window(0, 0, lattice.height, lattice.width)
    whole = run(source, lattice, window, blend)
    stream = RegionStream(
        source, segmenter(lattice.tile, margin=lattice.margin), lattice, window, blend=blend, batch=2, area=tissue,
        with_scores=True,
    )  # fmt: skip
    inside = stitched(list(stream), window)
    wanted = tissue.mask(window)
    for part, all_of_it in zip(inside, whole, strict=True):
        np.testing.assert_array_equal(part[..., wanted], all_of_it[..., wanted])
    assert (inside[0][~wanted] == TABLE.nodata).all()
    with_tissue = [tile for tile in lattice.tiles(window) if tissue.mask(tile.scores.intersect(window)).any()]
    assert stream.times.computed == len(with_tissue), "background is never computed"


def test_nan_is_nodata_and_never_reaches_the_network() -> None:
    values = picture(40, 40).astype(np.float32)
    values[:, 5:9, 5:9] = np.nan
    values[0, 20, 20] = np.nan
    classes, _, scores = run(ArraySource(values), Lattice(40, 40, 16, 8), Window(0, 0, 40, 40), "hann")
    assert (classes == TABLE.nodata).sum() == 16
    assert classes[20, 20] != TABLE.nodata
    assert (scores.astype(int).sum(0)[classes != TABLE.nodata] > 250).all()
