"""Table, collection, layers and mosaics of a batch at URLs: the files that a folder gets, from any machine."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pystac
import pytest
import yaml
from servers.s3_server import on_every_server

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import UsageError, WriteFailedError
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.workflows.batch.jobs import list_jobs
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.layers.wanted import check_layers
from segment_tiles.workflows.batch.results.write import write_results

LAYERS = {"merged": "all/polygons #1.parquet", "footprints": "outlines.geojson"}


def read(address: str, key: str) -> bytes:
    found = place_at(address).read(key)
    assert found is not None, key
    return found.data


def table(content: bytes) -> pd.DataFrame:
    frame = pd.read_csv(io.BytesIO(content))
    return frame.drop(columns=[name for name in frame if name == "state" or name.startswith("seconds")])


def run(file: Path, *words: str) -> None:
    assert run_command_line(["batch", str(file), "--quiet", *words]) == 0


@on_every_server
def test_what_a_batch_writes_at_its_end_is_what_a_folder_gets(
    jobs_file: Callable[..., Path], bucket: Callable[[], str], tmp_path: Path
) -> None:
    address = f"{bucket()}/a%20batch"
    run(jobs_file("jobs", "maps/{stem}", scene="[ab]*", results="here", **LAYERS))
    run(jobs_file("jobs", "maps/{stem}", scene="[ab]*", results=address, **LAYERS))
    here = {
        path.relative_to(tmp_path / "here").as_posix(): path.read_bytes()
        for path in (tmp_path / "here").rglob("*")
        if path.is_file()
    }
    assert place_at(address).list() == sorted(here)
    assert not (tmp_path / "jobs-results").exists()
    for name in ("all/polygons #1.parquet", "all/polygons #1.qml"):
        assert read(address, name) == here[name]
    states = [
        gpd.read_file(io.BytesIO(c)) for c in (read(address, "outlines.geojson"), here["outlines.geojson"])
    ]
    assert states[0].drop(columns="status").equals(states[1].drop(columns="status"))
    assert table(read(address, "jobs.csv")).equals(table(here["jobs.csv"]))
    (tmp_path / "collection.json").write_bytes(read(address, "collection.json"))
    there, before = (
        pystac.Collection.from_file(str(path))
        for path in (tmp_path / "collection.json", tmp_path / "here/collection.json")
    )
    assert there.id == "a batch"
    assert there.extent.to_dict() == before.extent.to_dict()
    assert {k: asset.href for k, asset in there.assets.items()} == {
        k: asset.href for k, asset in before.assets.items()
    }
    assert [link.href for link in there.get_item_links()] == [
        (tmp_path / "maps" / name / "item.json").as_uri() for name in ("a #1", "b")
    ]

    # a style of a user stays, polygons of before go
    place_at(address).put("all/polygons #1.qml", b"<!DOCTYPE qgis>\nmine\n")
    file = jobs_file("jobs", "maps/{stem}", scene="[ab]*", results=address, **LAYERS)
    changed = yaml.safe_load(file.read_text())
    changed["jobs"] = [{"source": str(tmp_path / "none.tif"), "out": "maps/none"}]
    file.write_text(yaml.safe_dump(changed))
    assert run_command_line(["batch", str(file), "--quiet"]) == 1
    assert read(address, "all/polygons #1.qml") == b"<!DOCTYPE qgis>\nmine\n"
    assert "all/polygons #1.parquet" not in place_at(address).list()


def test_layers_may_have_places_of_their_own(
    jobs_file: Callable[..., Path],
    bucket: Callable[[], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = bucket()
    layers = {"merged": f"{address}/all.parquet", "footprints": f"{address}/more/outlines.gpkg"}
    file = jobs_file("jobs", f"{address}/maps/{{stem}}", scene="b", **layers)
    run(file)
    links = json.loads((tmp_path / "jobs-results" / "collection.json").read_text())["assets"]
    assert [links[name]["href"] for name in ("all", "outlines")] == list(layers.values())
    assert list(gpd.read_parquet(io.BytesIO(read(address, "all.parquet")))["scene"].unique()) == [
        f"{address}/maps/b"
    ]
    assert {"all.qml", "more/outlines.gpkg"} <= set(place_at(address).list())
    # a part of the jobs writes none, and does not say so
    of_part = jobs_file("part", f"{address}/maps/{{stem}}", scene="[bc]", results=f"{address}/parts")
    capsys.readouterr()
    assert run_command_line(["batch", str(of_part), "--part", "1/2"]) == 0
    assert capsys.readouterr().out.strip() == "1 skipped"
    assert place_at(f"{address}/parts").list() == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"results": "ftp://host/x"}, r"results ftp://host/x: results cannot be written to ftp://"),
        ({"results": "s3://key:known@bucket/x"}, "results s3://bucket/x: has a user, a password or a query"),
        ({"merged": "s3://key:known@bucket/x.parquet"}, "merged s3://bucket/x.parquet: has a user"),
        (
            {"footprints": "gopher://host/x.gpkg"},
            "footprints gopher://host/x.gpkg: results cannot be written",
        ),
        (
            {"results": "s3://bucket/x", "merged": "../x.parquet"},
            r"merged \.\./x\.parquet: a URL has no '\.\.'; give the whole URL",
        ),
        ({"results": "s3://bucket/maps/b"}, "is or holds the results folder s3://bucket/maps/b"),
        ({"results": "s3://bucket/maps/b/x"}, "is or holds the results folder s3://bucket/maps/b/x"),
    ],
)
def test_names_that_are_refused(keys: dict[str, str], words: str, jobs_file: Callable[..., Path]) -> None:
    file = read_jobs_file(jobs_file("jobs", "s3://bucket/maps/{stem}", scene="b", **keys))
    with pytest.raises(UsageError, match=words) as error:
        check_layers(file, list_jobs(file))
    assert "jobs.yaml" in str(error.value)
    assert "known" not in str(error.value)


def test_a_place_that_takes_nothing_is_refused_before_anything_is_computed(
    jobs_file: Callable[..., Path], bucket: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    address = bucket()
    for keys, words in (
        ({"results": "s3://there-is-none/x"}, "there is no such bucket"),
        ({"merged": "s3://there-is-none/x.parquet"}, "there is no such bucket"),
        ({"results": address}, f"names a bucket, but nothing in it; give {address}/NAME"),
    ):
        file = jobs_file("jobs", f"{address}/maps/{{stem}}", scene="b", **keys)
        assert run_command_line(["batch", str(file)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert words in lines[0]
        assert place_at(address).list() == []


def test_a_bucket_that_has_gone_by_the_end_is_told_with_what_to_do(s3: str) -> None:
    with pytest.raises(
        WriteFailedError, match=r"no such bucket.*; what the jobs made is kept: start the same"
    ):
        write_results(Path("s3://there-is-none/x"), "jobs", [])


def test_results_and_mosaics_are_found_again_by_another_machine(
    scenes: Path, small_model: Path, bucket: Callable[[], str], tmp_path: Path, s3: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name, value in {
        "AWS_S3_ENDPOINT": s3.removeprefix("http://"), "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    address = f"{bucket()}/all%20maps"
    jobs = [
        {"source": str(scenes / "[bc].tif"), "mosaic": True, "name": "both #1"},
        {"source": str(scenes / "d.tif")},
    ]
    settings = {"model": str(small_model), "device": "cpu", "precision": "fp32", "format": ["zarr"]}
    states = []
    for machine in ("one", "two"):
        (tmp_path / machine / "scratch").mkdir(parents=True)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / machine / "scratch"))
        file = tmp_path / machine / "jobs.yaml"
        file.write_text(yaml.safe_dump({"jobs": jobs, "defaults": settings, "results": address}))
        assert run_command_line(["batch", str(file), "--dry-run", "--json"]) == 0
        states.append(json.loads(capsys.readouterr().out)["summary"]["to_do"])
        assert run_command_line(["batch", str(file), "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["results"] == address
        states.append(document["states"])
    assert states == [2, {"done": 2}, 0, {"skipped": 2}]
    there = place_at(address).list()
    assert {"mosaics/both _1.gti.gpkg", "both #1/item.json", "d/item.json", "jobs.csv"} <= set(there)


@pytest.mark.slow  # processes that are killed
@pytest.mark.timeout(600)
def test_a_batch_that_was_killed_is_continued_by_another_machine(
    jobs_file: Callable[..., Path],
    bucket: Callable[[], str],
    tmp_path: Path,
    same_as: Callable[[str, Path], None],
) -> None:
    address = f"{bucket()}/maps"
    run(jobs_file("here", "{results}/{stem}", results="here"))
    file = jobs_file("there", "{results}/{stem}", results=address)
    command = [sys.executable, "-c", "from segment_tiles.cli.main import main; main()", "batch"]

    def start(name: str) -> subprocess.Popen[bytes]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "jobs.yaml").write_text(file.read_text())
        environment = {**os.environ, "TMPDIR": str(tmp_path / name), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([*command, str(tmp_path / name / "jobs.yaml"), "--quiet"], env=environment)

    killed = start("one")
    while not [key for key in place_at(address).list() if key.endswith("/item.json")]:
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert "jobs.csv" not in place_at(address).list()
    assert start("two").wait(timeout=280) == 0
    names = ["a #1", "b", "c", "d"]
    states = pd.read_csv(io.BytesIO(read(address, "jobs.csv")))["state"]
    assert set(states) == {"done", "skipped"}
    for name in names:
        same_as(f"{address}/{name.replace('#', '%23')}", tmp_path / "here" / name)
    assert set(place_at(address).list()) >= {"collection.json", "jobs.csv", "jobs.parquet"}
