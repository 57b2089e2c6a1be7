"""Plans: Regions that fit the memory, sums that do not depend on height, and words that are parsed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from segment_tiles.pipeline.errors import PlanError, UsageError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.pipeline.outputs.stores.ledger import Ledger, LedgerEntry
from segment_tiles.pipeline.outputs.stores.store import shard_shape
from segment_tiles.pipeline.outputs.stores.unfinished import Part, unfinished, unfinished_planes
from segment_tiles.pipeline.sources.view import WHOLE
from segment_tiles.workflows.config import RunConfig, parse_formats
from segment_tiles.workflows.options.parsers import parse_bands, parse_batch, parse_memory
from segment_tiles.workflows.plans.compute.kept_probe import Probe
from segment_tiles.workflows.plans.plan import make_plan
from segment_tiles.workflows.run.request import plan_run
from segment_tiles.workflows.scenes.cut import Cut
from segment_tiles.workflows.scenes.rasters.areas import area_unit, class_areas, planar_areas
from segment_tiles.workflows.scenes.rasters.opener import RasterOpener
from segment_tiles.workflows.scenes.rasters.opening import roi_window
from segment_tiles.workflows.scenes.scene import Scene

PROBE = Probe("cpu", "cpu", "fp32", 1, 0.1, 500_000_000, 100_000_000)
GEOREF = GeoRef((0.5, 0.0, 1000.0, 0.0, -0.5, 2000.0), CRS.from_epsg(32633).to_wkt())


def scene(small_model: Path, height: int, width: int) -> Scene:
    spec = RasterSpec(3, height, width, "uint8", GEOREF)
    opener = RasterOpener("scene.tif", (1, 2, 3), None, "all", "auto", 0, WHOLE)
    cut = Cut("raster", spec, Lattice(height, width, 512, 128), spec.window, opener)
    return Scene("scene.tif", "raster", (cut,), (1, 2, 3), load_manifest(small_model), small_model)


def config(**changes: object) -> RunConfig:
    return replace(RunConfig("scene.tif", "model", Path("out"), memory=64 * 10**9), **changes)


def test_memory_does_not_grow_with_the_height(small_model: Path) -> None:
    plans = [
        make_plan(config(), scene(small_model, height, 20_000), PROBE, None) for height in (600, 600_000)
    ]
    assert plans[0].memory == plans[1].memory
    assert plans[1].tiles > 900 * plans[0].tiles / 2


def test_a_huge_raster_has_a_plan(small_model: Path) -> None:
    plan = make_plan(config(), scene(small_model, 100_000, 100_000), PROBE, None)
    assert plan.tiles == 261 * 261
    assert len(plan.regions) == 1
    assert plan.memory.accumulator < 3 * 128 * 102_000 * 4
    assert plan.expected_seconds == pytest.approx(261 * 261 * 0.1)


def test_calibrating_stands_in_the_plan_and_is_refused_before_it_begins(small_model: Path) -> None:
    one, before = scene(small_model, 600, 600), replace(PROBE, calibrating_bytes=9 * 10**9)
    assert make_plan(config(), one, before, None).memory.total == PROBE.program_bytes + 9 * 10**9
    small = config(memory=2 * 10**9)
    with pytest.raises(PlanError, match=r"allows 2 GB, but calibrating .* may take 9.5 GB; give more"):
        make_plan(small, one, before, None)
    # one that was done speaks against nothing
    assert make_plan(small, one, replace(before, calibrations=("checksum",)), None).memory.calibrating


@given(st.integers(1, 40_000), st.integers(1, 3000), st.floats(0.0, 1.0))
def test_regions_partition_the_result_on_shard_edges(
    small_model: Path, width: int, height: int, share: float
) -> None:
    one = scene(small_model, height, width)
    least = _least_memory(one)
    most = make_plan(config(), one, PROBE, None).memory.total
    plan = make_plan(config(memory=int(least + share * (most - least)) + 1), one, PROBE, None)
    _, side = shard_shape(width)
    assert plan.regions[0].column == 0
    assert plan.regions[-1].column_stop == width
    assert all(a.column_stop == b.column for a, b in zip(plan.regions, plan.regions[1:], strict=False))
    assert all(region.column % side == 0 and region.height == height for region in plan.regions)
    assert plan.memory.total <= plan.memory_limit


def _least_memory(one: Scene) -> int:
    low = 1
    try:
        make_plan(config(memory=low), one, PROBE, None)
    except PlanError as error:
        text = str(error).split(" takes ")[1].split(";")[0]
        value, unit = text.split()
        return int(float(value) * {"MB": 10**6, "GB": 10**9}[unit] * 1.01)
    return low


@pytest.mark.parametrize(
    ("roi", "expected"),
    [
        (None, Window(0, 0, 400, 600)),
        ((1000.0, 1800.0, 1300.0, 2000.0), Window(0, 0, 400, 600)),
        ((1000.5, 1999.0, 1001.0, 1999.5), Window(1, 1, 1, 1)),
        ((1000.6, 1999.0, 1001.1, 1999.4), Window(1, 1, 1, 2)),
        ((900.0, 1900.0, 1001.0, 3000.0), Window(0, 0, 200, 2)),
    ],
)
def test_roi_in_pixels(roi: tuple[float, float, float, float] | None, expected: Window) -> None:
    assert roi_window(roi, RasterSpec(3, 400, 600, "uint8", GEOREF)) == expected


@pytest.mark.parametrize("text", ["", "4", "4 gigabytes", "-1GB", "0", "GB", "4GB2"])
def test_sizes_that_are_none(text: str) -> None:
    if text == "4":
        assert parse_memory(text) == 4
        return
    with pytest.raises(UsageError, match="--memory"):
        parse_memory(text)


def test_words() -> None:
    assert parse_memory("2.5 GiB") == int(2.5 * 2**30)
    assert parse_bands(" 3, 2,1") == (3, 2, 1)
    assert parse_batch("auto") is None
    assert parse_batch("8") == 8
    assert parse_formats("parquet,COG") == ("zarr", "cog", "parquet")
    for bad in ("0,1", "1,,2", "a"):
        with pytest.raises(UsageError):
            parse_bands(bad)


def test_unfinished_rows_are_found_by_shards(tmp_path: Path) -> None:
    ledger, width = Ledger(tmp_path), 5000
    rows, side = shard_shape(width)
    region = Window(0, 0, 4 * rows + 10, width)

    def missing(asked: Window) -> list[tuple[int, Window]]:
        parts = unfinished(asked, range(1), region.shape, ledger)
        return [(part.planes.start, part.window) for part in parts]

    assert missing(region) == [(0, region)]
    counts = ((rows * side, 0), (rows * (width - side), 0))
    ledger.mark(LedgerEntry(1, (0, 2), counts))
    ledger.mark(LedgerEntry(3, (0, 1), counts[:1]))
    assert missing(region) == [
        (0, Window(0, 0, rows, width)),
        (0, Window(2 * rows, 0, 2 * rows + 10, width)),
    ]
    left = Window(0, 0, 4 * rows + 10, side)
    assert [part.row for _, part in missing(left)] == [0, 2 * rows, 4 * rows]
    ledger.mark(LedgerEntry(1, (0, 2), counts))
    assert sum(sum(shard) for shard in ledger.finished().values()) == rows * (width + side)
    assert not list(tmp_path.glob("*.partial"))


def test_planes_of_which_nothing_is_there_are_one_part(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    rows, _ = shard_shape(300)
    shape = (2 * rows, 300)
    plane = Window(0, 0, *shape)
    assert unfinished(plane, range(5), shape, ledger) == [Part(range(5), plane)]
    # the lower half of plane 2, all of plane 3
    for row in (2 * 2 + 1, 2 * 3, 2 * 3 + 1):
        ledger.mark(LedgerEntry(row, (0, 1), ((rows * 300, 0),)))
    assert unfinished(plane, range(5), shape, ledger) == [
        Part(range(2), plane),
        Part(range(2, 3), Window(0, 0, rows, 300)),
        Part(range(4, 5), plane),
    ]
    assert unfinished_planes(range(5), shape, ledger) == [range(3), range(4, 5)]


def test_areas_in_metres_and_in_degrees() -> None:
    counts = {(0, 0): (10, 2), (1, 0): (5, 0)}

    def no_codes(window: Window) -> Any:
        raise AssertionError(window)

    assert planar_areas([15, 2], GEOREF) == [15 * 0.25, 2 * 0.25]
    # 499 km west of the middle of the zone, on the equator: lengths 0.27 % larger in the plane
    assert class_areas(counts, (600, 500), GEOREF, no_codes) == pytest.approx([3.7298, 0.4973], rel=1e-4)
    assert area_unit(GEOREF) == "m2"
    degree = GeoRef((0.001, 0.0, 10.0, 0.0, -0.001, 60.0), CRS.from_epsg(4326).to_wkt())
    whole = np.zeros((500, 500), np.uint8)
    found = class_areas({(0, 0): (250_000, 0)}, (500, 500), degree, lambda window: whole[window.slices()])[0]
    # a degree of latitude is 111.4 km at 60 degrees, one of longitude 55.6 km at 59.75 on average
    assert found == pytest.approx(250_000 * 111.4 * 55.98, rel=0.01)
    assert planar_areas([1], degree) is None
    feet = GeoRef((1.0, 0.0, 0.0, 0.0, -1.0, 0.0), CRS.from_epsg(2263).to_wkt())
    assert class_areas({(0, 0): (1, 0)}, (1, 1), feet, no_codes)[0] == pytest.approx(0.0929, rel=1e-3)
    assert area_unit(GeoRef.of_pixels()) == "pixels"


def test_a_plan_of_a_sparse_file_of_a_hundred_thousand_pixels(small_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=100_000, height=100_000, count=3, dtype="uint8", tiled=True,
        sparse_ok=True, bigtiff="yes", crs="EPSG:32633", transform=rasterio.Affine(1, 0, 9, 0, -1, 0),
    ):  # fmt: skip
        pass
    plan = plan_run(config(source=str(path), model=str(small_model), precision="fp32", tile=512))
    assert plan.tiles == 261 * 261
    assert np.prod(plan.scene.roi.shape) == 10**10
