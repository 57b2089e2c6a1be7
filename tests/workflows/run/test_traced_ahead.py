"""Polygons of finished rows, traced by a process of its own while others are computed: the same polygons."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import rasterio
import zarr
from servers.processes import started_by

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.stores.ledger import Ledger, LedgerEntry
from segment_tiles.pipeline.outputs.stores.store import array_of, create_store, open_store
from segment_tiles.pipeline.places.protocol import Traffic
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.polygons.ahead import PROCESS_BYTES, TracingRequest, traced_ahead
from segment_tiles.workflows.polygons.polygonize import polygonize
from segment_tiles.workflows.regions.strips import strips_of, trace_strip
from segment_tiles.workflows.results.formats import vectors
from segment_tiles.workflows.run.request import plan_run
from segment_tiles.workflows.run.segment import segment
from segment_tiles.workflows.run.tracing import with_tracing

TABLE = ClassTable((MapClass(0, "a", (9, 9, 9)), MapClass(1, "b", (0, 99, 0))))
ROWS, COLUMNS, TILE = 1300, 700, 256
"""Three rows of shards, of 512 px; 6 x 3 vector tiles."""
OPTIONS = PolygonizeOptions(vector_tile=TILE, classes=("b",), minimum_area=3)


def finish_row(folder: Path, group: zarr.Group, row: int) -> None:
    """Write a row of shards and mark it."""
    values = np.random.default_rng(row).integers(0, 2, (512 // 4, COLUMNS // 4), dtype=np.uint8)
    rows = slice(row * 512, min((row + 1) * 512, ROWS))
    array_of(group, "classes")[rows] = values.repeat(4, 0).repeat(4, 1)[: rows.stop - rows.start]
    array_of(group, "confidence")[rows] = 200
    Ledger(folder / "ledger").mark(LedgerEntry(row, (0, 1), ((0, 0, 0),)))


def names(tiles: Path) -> set[str]:
    return {path.stem.removeprefix("tile-") for path in tiles.glob("tile-*.json")}


def of_rows(rows: Collection[int]) -> set[str]:
    return {f"{row}_{column}" for row in rows for column in range(3)}


def tracing_process() -> psutil.Process:
    """Return the one child of this process that traces; tests before have left others, such as fork servers."""
    (process,) = started_by(psutil.Process(), "ahead_process", recursive=False)
    return process


def wait_for(tiles: Path, wanted: set[str]) -> None:
    ends = time.monotonic() + 120
    while names(tiles) != wanted:
        assert time.monotonic() < ends, f"only {names(tiles)} are traced"
        time.sleep(0.05)


def test_finished_rows_alone_are_traced_and_taken_over(tmp_path: Path) -> None:
    group = open_store(
        create_store(tmp_path / "classes.zarr", (ROWS, COLUMNS), GeoRef.of_pixels(), TABLE), "r+"
    )
    request = TracingRequest(tmp_path / "classes.zarr", tmp_path / "ledger", tmp_path / "traced", OPTIONS)
    finish_row(tmp_path, group, 0)
    with traced_ahead(request):
        # the second row of tiles reads a row of pixels below it, which nobody has computed
        wait_for(request.tiles, of_rows([0]))
        finish_row(tmp_path, group, 2)
        wait_for(request.tiles, of_rows([0, 5]))
        process = tracing_process()
        assert process.memory_info().rss <= PROCESS_BYTES
        assert process.nice() == (19 if psutil.POSIX else psutil.IDLE_PRIORITY_CLASS)
    assert not process.is_running()
    finish_row(tmp_path, group, 1)

    asked: list[tuple[str, int]] = []
    taken, plain = tmp_path / "taken.parquet", tmp_path / "plain.parquet"
    polygonize(
        request.raster,
        [taken],
        OPTIONS,
        traced_ahead=request.tiles,
        progress=lambda s, n, _: asked.append((s, n)),
    )
    polygonize(request.raster, [plain], OPTIONS)
    assert [number for step, number in asked if step == "trace"] == list(range(7, 19))
    assert taken.read_bytes() == plain.read_bytes()


def test_strips_of_several_workers_are_taken_over(tmp_path: Path) -> None:
    group = open_store(
        create_store(tmp_path / "classes.zarr", (ROWS, COLUMNS), GeoRef.of_pixels(), TABLE), "r+"
    )
    request = TracingRequest(tmp_path / "classes.zarr", tmp_path / "ledger", tmp_path / "traced", OPTIONS)
    strips = strips_of(request, ROWS, COLUMNS)
    assert [(strip.first, strip.stop, strip.shard_rows) for strip in strips] == [(0, 6, range(3))]
    halves = [replace(strips[0], stop=3), replace(strips[0], first=3)]
    assert [half.shard_rows for half in halves] == [range(2), range(1, 3)]
    for row in (0, 2):
        finish_row(tmp_path, group, row)
    # a shard that is not there would be read as one of nodata
    assert [trace_strip(half, lambda: False, lambda: False) for half in halves] == [Traffic(), Traffic()]
    assert names(request.tiles) == of_rows([0, 5])
    finish_row(tmp_path, group, 1)
    trace_strip(halves[1], lambda: True, lambda: True)
    assert names(request.tiles) == of_rows([0, 5])
    for half in reversed(halves):
        trace_strip(half, lambda: False, lambda: False)
    assert names(request.tiles) == of_rows(range(6))

    asked: list[str] = []
    taken, plain = tmp_path / "taken.parquet", tmp_path / "plain.parquet"
    polygonize(
        request.raster,
        [taken],
        OPTIONS,
        traced_ahead=request.tiles,
        progress=lambda step, *_: asked.append(step),
    )
    polygonize(request.raster, [plain], OPTIONS)
    assert "trace" not in asked
    assert taken.read_bytes() == plain.read_bytes()


def test_a_process_that_fails_costs_nothing_but_its_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request = TracingRequest(tmp_path / "none.zarr", tmp_path / "ledger", tmp_path / "traced", OPTIONS)
    with traced_ahead(request):
        process = tracing_process()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its status is left for who started it
    assert "the process that traced polygons beside the computation ended with status 1" in caplog.text
    assert "none.zarr" in caplog.text


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    path = tmp_path / "wide.tif"
    profile = {"driver": "GTiff", "count": 3, "height": 5000, "width": 4000, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.1, 0, 0, 0, -0.1, 0)}
    with rasterio.open(path, "w", **profile, **place, sparse_ok=True, tiled=True):
        pass
    return path


def test_it_stands_in_the_plan_if_it_fits(wide: Path, small_model: Path) -> None:
    config = RunConfig(str(wide), str(small_model), Path(), device="cpu", precision="fp32")
    plan = plan_run(replace(config, formats=("parquet",)))
    assert plan.memory.tracing > 0
    for other in ({"formats": ("zarr",)}, {"formats": ("parquet",), "majority": 3}, {"workers": 2}):
        assert plan_run(replace(config, **other)).memory.tracing == 0
    assert plan_run(replace(config, formats=("parquet",)), alone=False).memory.tracing == 0
    # beside a large batch it is what counts, and goes if memory ends there
    large = replace(plan, memory=replace(plan.memory, batch=2 * 10**9, tracing=0))
    asked = replace(config, formats=("parquet",))
    enough = large.memory.total + plan.memory.tracing
    assert with_tracing(replace(large, memory_limit=enough), asked, alone=True).memory.total == enough
    assert with_tracing(replace(large, memory_limit=enough - 1), asked, alone=True).memory == large.memory


def coarse_raster(folder: Path) -> Path:
    source = folder / "a.tif"
    profile = {"driver": "GTiff", "count": 3, "height": 560, "width": 72, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(1, 0, 500000, 0, -1, 0)}
    with rasterio.open(source, "w", **profile, **place) as dataset:
        coarse = np.random.default_rng(0).integers(0, 255, (3, 70, 9), dtype=np.uint8)
        dataset.write(coarse.repeat(8, 1).repeat(8, 2))
    return source


@pytest.mark.slow
def test_workers_trace_after_the_last_row(
    small_model: Path, tmp_path: Path, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig(
        str(coarse_raster(tmp_path)),
        str(small_model),
        tmp_path / "plain",
        device="cpu",
        precision="fp32",
        formats=("parquet",),
    )
    segment(config, quiet)
    monkeypatch.setattr(vectors, "TILES_OF_A_PROCESS", 1)
    monkeypatch.setattr(vectors, "VECTOR_TILE", 64)
    traced: set[str] = set()

    class Looks:
        warn = planned = tiles = staticmethod(lambda *_: None)

        def stage(self, name: str) -> None:
            if name == "polygons":
                traced.update(names(tmp_path / "out" / ".segment-tiles" / "traced"))

    segment(replace(config, out=tmp_path / "out", workers=2), Looks())
    assert len(traced) == 18
    assert not (tmp_path / "out" / ".segment-tiles" / "traced").exists()
    files = [folder / "polygons.parquet" for folder in (tmp_path / "plain", tmp_path / "out")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_run_takes_over_what_was_traced(
    small_model: Path, tmp_path: Path, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig(
        str(coarse_raster(tmp_path)),
        str(small_model),
        tmp_path / "plain",
        device="cpu",
        precision="fp32",
        formats=("parquet",),
    )
    segment(config, quiet)
    monkeypatch.setattr(vectors, "TILES_OF_A_PROCESS", 1)
    result = segment(replace(config, out=tmp_path / "out"), quiet)
    assert result.report["memory"]["planned"]["tracing"] > 0
    assert not (tmp_path / "out" / ".segment-tiles" / "traced").exists()
    files = [folder / "polygons.parquet" for folder in (tmp_path / "plain", tmp_path / "out")]
    assert files[0].read_bytes() == files[1].read_bytes()
