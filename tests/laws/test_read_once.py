"""The source is read once: the preview is made of what the computation saw."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from served_folder import served_folder

from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment

AGAIN = "read again for the preview"
SIDE = 1300
"""Three rows of shards, and a picture of half the size."""


class StopsAt:
    """Listens, and is interrupted when a stage begins."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def warn(self, text: str) -> None: ...

    def stage(self, name: str) -> None:
        if name == self._stage:
            raise KeyboardInterrupt

    def planned(self, plan: object) -> None: ...

    def tiles(self, computed: int, skipped: int) -> None: ...


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks with noise; the last 200 rows hold no data."""
    rng = np.random.default_rng(0)
    values = rng.integers(1, 230, (3, 82, 82), dtype=np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    values = values[:, :SIDE, :SIDE] + rng.integers(0, 20, (3, SIDE, SIDE), dtype=np.uint8)
    values[:, -200:] = 0
    path = tmp_path_factory.mktemp("source") / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE, height=SIDE, count=3, dtype="uint8", crs="EPSG:32633", nodata=0,
        transform=rasterio.Affine(1, 0, 0, 0, -1, SIDE), tiled=True, compress="deflate",
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


def config(source: Path | str, model: Path, out: Path, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {"precision": "fp32", "device": "cpu", "overlap": 0.0, "formats": ("zarr",)}
    return RunConfig(str(source), str(model), out, **{**settings, **changes})


@pytest.fixture(scope="module")
def picture(source: Path, small_model: Path, quiet: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("whole") / "out"
    segment(config(source, small_model, out), quiet)
    return (out / "preview.png").read_bytes()


def test_a_remote_source_is_fetched_once(
    source: Path, picture: bytes, small_model: Path, quiet: Any, tmp_path: Path
) -> None:
    (tmp_path / "served").mkdir()
    served = Path(shutil.copy(source, tmp_path / "served"))
    (served.with_name("sent")).touch()
    with served_folder(served.parent) as address:
        segment(config(f"{address}/a.tif", small_model, tmp_path / "out"), quiet)
    sent = sum(map(int, served.with_name("sent").read_text().split()))
    assert 0.9 < sent / served.stat().st_size < 1.1
    assert (tmp_path / "out" / "preview.png").read_bytes() == picture


@pytest.fixture(scope="module")
def stopped(source: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which every row is done, and nothing after it."""
    out = tmp_path_factory.mktemp("stopped") / "out"
    with pytest.raises(KeyboardInterrupt):
        segment(config(source, small_model, out), StopsAt("overviews"))
    return out


@pytest.fixture
def computed(stopped: Path, tmp_path: Path) -> Path:
    """The ledger of a copy of it."""
    ledger = Path(shutil.copytree(stopped, tmp_path / "out")) / ".segment-tiles" / "ledger"
    assert len(list(ledger.glob("*.thumbnail"))) == len(list(ledger.glob("*.json"))) == 3
    return ledger


def test_a_piece_that_is_damaged_costs_no_row(
    computed: Path, source: Path, picture: bytes, small_model: Path, quiet: Any,
    damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture, tmp_path: Path,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    damage(min(computed.glob("*.thumbnail")))
    before = {path.name: path.stat().st_mtime_ns for path in computed.glob("*.json")}
    segment(config(source, small_model, tmp_path / "out"), quiet)
    assert (tmp_path / "out" / "preview.png").read_bytes() == picture
    assert {path.name: path.stat().st_mtime_ns for path in computed.glob("*.json")} == before
    assert caplog.text.count(AGAIN) == 1
    assert "1 part of the source" in caplog.text


def test_a_run_of_an_older_version_is_taken_up(
    computed: Path, source: Path, picture: bytes, small_model: Path, quiet: Any, tmp_path: Path
) -> None:
    """Its rows say nothing of pieces."""
    from segment_tiles.pipeline.outputs.stores.seals import read_sealed, write_sealed  # noqa: PLC0415

    for path in computed.glob("*.thumbnail"):
        path.unlink()
    for path in computed.glob("*.json"):
        fields = read_sealed(path) or {}
        del fields["thumbnail"]
        write_sealed(path, fields)
    segment(config(source, small_model, tmp_path / "out"), quiet)
    assert (tmp_path / "out" / "preview.png").read_bytes() == picture


def test_the_picture_is_drawn_without_the_source_and_not_again(
    computed: Path, source: Path, picture: bytes, small_model: Path, quiet: Any,
    caplog: pytest.LogCaptureFixture, tmp_path: Path,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    segment(config(source, small_model, tmp_path / "out"), quiet)
    drawn = tmp_path / "out" / "preview.png"
    assert drawn.read_bytes() == picture
    assert not list(computed.glob("*.thumbnail"))
    at = drawn.stat().st_mtime_ns
    segment(config(source, small_model, tmp_path / "out", formats=("cog",)), quiet)
    assert (tmp_path / "out" / "classes.tif").is_file()
    assert drawn.stat().st_mtime_ns == at
    assert AGAIN not in caplog.text


def test_outside_the_area_nothing_is_read_and_nothing_shown(
    source: Path, small_model: Path, quiet: Any, smallest_pieces: Any, tmp_path: Path
) -> None:
    """A picture of the part that was read, however the run was divided."""
    ring = [[100, 900], [700, 900], [700, 500], [100, 500], [100, 900]]
    area = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    (tmp_path / "aoi.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "crs": crs, "features": [area]})
    )
    pictures = []
    for name, executor in (("one", None), ("many", smallest_pieces)):
        out = tmp_path / name
        segment(config(source, small_model, out, aoi=tmp_path / "aoi.geojson"), quiet, executor)
        pictures.append((out / "preview.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_an_overview_is_drawn_where_there_is_one(
    source: Path, small_model: Path, quiet: Any, tmp_path: Path
) -> None:
    large = tmp_path / "large.tif"
    with rasterio.open(source) as dataset:
        values = dataset.read(out_shape=(3, 2500, 300))
        profile = {**dataset.profile, "height": 2500, "width": 300}
    with rasterio.open(large, "w", **profile) as dataset:
        dataset.write(values)
    with rasterio.open(large, "r+") as dataset:
        dataset.build_overviews([4], Resampling.nearest)
    with pytest.raises(KeyboardInterrupt):
        segment(config(large, small_model, tmp_path / "out"), StopsAt("overviews"))
    assert not list((tmp_path / "out" / ".segment-tiles" / "ledger").glob("*.thumbnail"))
    segment(config(large, small_model, tmp_path / "out"), quiet)
    assert (tmp_path / "out" / "preview.png").is_file()
