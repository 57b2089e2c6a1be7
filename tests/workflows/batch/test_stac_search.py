"""A search of a STAC API as the scenes of a batch: pages, groups, dates, and signatures that run out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from stac_api import served_api

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.pipeline.sources import patience
from segment_tiles.workflows.batch.jobs import Job, list_jobs
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment

pytest.importorskip("pystac_client", reason="the extra stac is not installed")

SECRET = "s3cr3t"
TILES = ("33UUP", "33UVP")
DAYS = ("2026-05-01", "2026-08-15")
SIZES = {"red": 10, "green": 20, "blue": 60}


def write_item(folder: Path, tile: str, day: str, cloud: float) -> None:
    """Three bands of 10, 20 and 60 m in files of their own, and the item that names them."""
    name = f"{tile}-{day}"
    assets = {}
    left = 600_000 + 2400 * TILES.index(tile)
    for seed, (band, size) in enumerate(SIZES.items()):
        side = 2400 // size
        values = np.random.default_rng([seed, *name.encode()]).integers(
            1, 255, (1, side, side), dtype=np.uint8
        )
        with rasterio.open(
            folder / f"{name}-{band}.tif", "w", driver="GTiff", width=side, height=side, count=1, dtype="uint8",
            crs="EPSG:32633", transform=Affine(size, 0, left, 0, -size, 5_000_000), tiled=True, blockxsize=16,
            blockysize=16, nodata=0,
        ) as dataset:  # fmt: skip
            dataset.write(values)
        assets[f"B-{band}"] = {
            "href": f"{name}-{band}.tif", "type": "image/tiff; application=geotiff", "roles": ["data"],
            "eo:bands": [{"name": band.upper()[:3], "common_name": band}], "raster:bands": [{"nodata": 0}],
        }  # fmt: skip
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "s2",
        "bbox": [13, 45, 14, 46], "links": [],
        "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"],
        "geometry": {"type": "Polygon", "coordinates": [[[13, 45], [14, 45], [14, 46], [13, 46], [13, 45]]]},
        "properties": {"datetime": f"{day}T10:00:00Z", "grid:code": f"MGRS-{tile}", "eo:cloud_cover": cloud},
        "assets": assets,
    }  # fmt: skip
    (folder / f"{name}.item.json").write_text(json.dumps(item))


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiles on two days, and a cloudy one of a third day."""
    folder = tmp_path_factory.mktemp("api")
    for tile in TILES:
        for day in DAYS:
            write_item(folder, tile, day, 5)
    write_item(folder, TILES[0], "2026-06-10", 90)
    return folder


@pytest.fixture
def api(items: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The API, and a module `signer` whose `sign` signs its URLs."""
    (items / "key").write_text(SECRET)
    (items / "refused").unlink(missing_ok=True)
    module = ModuleType("signer")
    module.sign = lambda href: f"{href}?sig={(items / 'key').read_text()}"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "signer", module)
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.05)
    with served_api(items) as address:
        yield address


def search(**changes: Any) -> dict[str, Any]:
    asked = {"collections": ["s2"], "bbox": [13.2, 45.2, 13.4, 45.4], "datetime": "2026-01-01/2026-12-31"}
    return {**asked, "query": {"eo:cloud_cover": {"lt": 20}}, "sortby": ["-datetime", "grid:code"], **changes}


@pytest.fixture
def jobs(jobs_file: Callable[..., Path]) -> Callable[..., list[Job]]:
    """The jobs of a file with this entry."""
    return lambda **entry: list_jobs(read_jobs_file(jobs_file(entry)))


def test_pages_of_a_search_become_scenes_and_groups(api: str, jobs: Callable[..., list[Job]]) -> None:
    alone = jobs(stac=api, search=search())
    names = [f"{tile}-{day}" for day in reversed(DAYS) for tile in TILES]
    assert [Path(job.name).name for job in alone] == names
    assert [shown_name(job.config.source) for job in alone] == names
    assert len(jobs(stac=api, search=search(max_items=3))) == 3
    both = jobs(stac=api, search=search(), group_by=["date"], out="out/{date}")
    assert [job.name for job in both] == [f"out/{day}" for day in reversed(DAYS)]
    assert shown_name(both[0].config.source) == ",".join(f"{tile}-{DAYS[1]}" for tile in TILES)
    each = jobs(stac=api, search=search(), group_by=["tile", "date"])
    assert [Path(job.name).name for job in each] == [
        f"MGRS-{tile}_{day}" for day in reversed(DAYS) for tile in TILES
    ]
    dated = jobs(stac=api, search=search(), group_by=["tile"], dates=DAYS, out="out/{tile}/{date}")
    assert [job.name for job in dated] == [f"out/MGRS-{tile}/{'_'.join(DAYS)}" for tile in TILES]
    assert shown_name(dated[1].config.source) == ",".join(f"{TILES[1]}-{day}" for day in DAYS)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"dates": [DAYS[0], "2026-07-01"]}, r"line \d+: dates names 2026-07-01, but no item is of that day"),
        ({"search": search(max_items=0)}, r"search.max_items is 0"),
        ({"search": search(bbox=[1, 2])}, r"search.bbox is \[1, 2\]: give west, south, east, north"),
        ({"search": {"when": "now"}}, r"the key jobs.0.search.when is not known; known are bbox, datetime"),
        ({"search": search(collections=["none"])}, r"the search finds no item \(.*collections \['none'\]"),
        ({"group_by": ["orbit"]}, r"group_by.0 is 'orbit': .*'tile' or 'date'"),
        ({"dates": [DAYS[0], DAYS[0]]}, "dates names one day twice"),
        ({"dates": DAYS, "asset": "visual"}, "asset names one raster of each item"),
        ({"stac": "http://127.0.0.1:9"}, r"http://127.0.0.1:9: cannot be searched \("),
    ],
)  # fmt: skip
def test_what_a_search_cannot_give_is_one_line(
    api: str, jobs: Callable[..., list[Job]], entry: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        jobs(**{"stac": api, "search": search(), **entry})
    assert "\n" not in str(caught.value)


def test_a_search_is_segmented_though_its_signatures_run_out(
    api: str, items: Path, jobs_file: Callable[..., Path], small_model: Path, quiet: Any, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The map is that of the files, the signature is in no file, and the new one was asked for when it had to be."""
    (items / "runs-out").touch()
    one = search(datetime=f"{DAYS[0]}T00:00:00Z/{DAYS[0]}T23:59:59Z", max_items=1)
    path = jobs_file({"stac": api, "search": one, "sign": "signer.sign", "out": "map"})
    assert run_command_line(["batch", str(path), "--json"]) == 0, capsys.readouterr().err
    rows = json.loads(capsys.readouterr().out)["jobs"]
    assert [row["state"] for row in rows] == ["done"]
    assert not (items / "runs-out").exists()
    assert (items / "refused").read_text().count("\n") < 40, "one refused range, not one for every read"
    files = ",".join(str(items / f"{TILES[0]}-{DAYS[0]}-{band}.tif") for band in SIZES)
    asked: dict[str, Any] = {"device": "cpu", "precision": "fp32", "formats": ("zarr",)}
    segment(RunConfig(files, str(small_model), tmp_path / "local", **asked), quiet)
    for name in ("classes", "confidence"):
        made, wanted = (
            open_store(out / "classes.zarr")[name][:] for out in (tmp_path / "map", tmp_path / "local")
        )
        np.testing.assert_array_equal(made, wanted)
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file for file in written if SECRET.encode() in file.read_bytes()]
    record = json.loads((tmp_path / "map" / ".segment-tiles" / "run.json").read_text())["settings"]
    assert "B-red" not in record["source"]
    assert f"{TILES[0]}-{DAYS[0]}-red.tif" in record["source"]
    assert set(record["source version"]["members"]) == {
        f"{api}/{TILES[0]}-{DAYS[0]}-{band}.tif" for band in SIZES
    }
    assert run_command_line(["batch", str(path), "--json"]) == 0
    assert [row["state"] for row in json.loads(capsys.readouterr().out)["jobs"]] == ["skipped"]


def test_a_callable_that_is_not_there_is_refused_though_no_file_needs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = f"{tmp_path / 'a.tif'},{tmp_path / 'b.tif'}"
    assert run_command_line(["info", files, "--sign", "nowhere.sign"]) == 2
    assert "--sign is 'nowhere.sign', which cannot be imported" in capsys.readouterr().err


def test_a_callable_that_cannot_sign_is_one_line(
    api: str, jobs_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words in {
        "nowhere.sign": "--sign is 'nowhere.sign', which cannot be imported",
        "json.decoder": "which is a module; give a callable",
        "json.loads": "cannot be signed: json.loads raised JSONDecodeError",
        "math.isnan": "cannot be signed: math.isnan raised TypeError",
        "str.split": "which cannot be imported",
    }.items():
        path = jobs_file({"stac": api, "search": search(max_items=1), "sign": name})
        assert run_command_line(["batch", str(path), "--dry-run"]) != 0
        assert words in capsys.readouterr().err
