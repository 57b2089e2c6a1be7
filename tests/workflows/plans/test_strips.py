"""Regions for several workers: a partition on shard edges, with work for all, and few tiles done twice."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import shard_shape
from segment_tiles.workflows.plans.strips import busiest, columns_at_least, in_strips


def columns_of(roi: Window, count: int) -> tuple[Window, ...]:
    """Cut a result into about as many columns of whole shards."""
    _, side = shard_shape(roi.width)
    shards = -(-roi.width // side)
    step = -(-shards // count) * side
    return tuple(
        Window.from_edges(0, left, roi.height, min(left + step, roi.width))
        for left in range(0, roi.width, step)
    )


def tiles_in(lattice: Lattice, roi: Window) -> Callable[[Window], int]:
    """Count the tiles of a Region of a result whose corner is that of the ROI."""
    return lambda region: lattice.tile_count(region.shift(roi.row, roi.column))


@given(
    height=st.integers(1, 60_000),
    width=st.integers(1, 30_000),
    top=st.integers(0, 3000),
    workers=st.integers(1, 70),
    pieces=st.integers(1, 4),
)
def test_strips_partition_the_result_on_shard_edges_and_give_all_workers_work(
    height: int, width: int, top: int, workers: int, pieces: int
) -> None:
    roi = Window(top, 17, height, width)
    lattice = Lattice(top + height + 5, width + 20, 512, 128)
    columns = columns_of(roi, pieces)
    regions = in_strips(tiles_in(lattice, roi), roi, columns, workers)
    shard_rows, side = shard_shape(width)
    assert all(region.row % shard_rows == 0 and region.column % side == 0 for region in regions)
    assert not any(region.is_empty for region in regions)
    assert sum(region.area for region in regions) == height * width
    for one in columns:
        strips = sorted(region for region in regions if region.column == one.column)
        edges = [one.row, *(region.row_stop for region in strips)]
        assert [region.row for region in strips] == edges[:-1], "no gap, no overlap"
        assert edges[-1] == height
    rows = -(-height // shard_rows)
    assert len(regions) >= min(workers, rows * len(columns))


@given(rows=st.integers(1, 20), shards=st.integers(1, 20), workers=st.integers(1, 50))
def test_a_low_wide_raster_is_cut_in_columns_too(rows: int, shards: int, workers: int) -> None:
    roi = Window(0, 0, rows * 512, shards * 4096)
    count = columns_at_least(roi, workers)
    assert 1 <= count <= shards
    assert rows * count >= min(workers, rows * shards)
    assert count == 1 or rows * (count - 1) < workers, "no more than are needed"


def test_one_worker_computes_no_border_twice() -> None:
    roi = Window(0, 0, 20_000, 20_000)
    lattice = Lattice(20_000, 20_000, 512, 128)
    assert in_strips(tiles_in(lattice, roi), roi, columns_of(roi, 1), 1) == (Window(0, 0, 20_000, 20_000),)


def test_borders_cost_little() -> None:
    roi = Window(0, 0, 20_000, 20_000)
    lattice = Lattice(20_000, 20_000, 512, 128)
    for workers in (2, 3, 4, 8):
        regions = in_strips(tiles_in(lattice, roi), roi, columns_of(roi, 1), workers)
        ideal = lattice.tile_count(roi) / workers
        assert busiest(tiles_in(lattice, roi), regions, workers) < 1.4 * ideal, workers
