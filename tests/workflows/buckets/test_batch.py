"""Batches into buckets: each scene as a batch into folders gives it, and all that a batch reads of earlier results."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pystac
import pytest
import yaml
from servers.s3_server import on_every_server

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.workflows.batch.jobs import list_jobs
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.buckets.copies import report_of

NAMES = ("a #1", "b", "c", "d")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "jobs.csv").open() as file:
        return list(csv.DictReader(file))


def versions(address: str) -> dict[str, str]:
    place = place_at(address)
    found = {key: place.read(key) for key in place.list() if not key.endswith("lease.json")}
    return {key: entry.version for key, entry in found.items() if entry is not None}


@on_every_server
def test_scenes_tables_and_layers_are_those_of_a_batch_into_folders(
    jobs_file: Callable[..., Path],
    bucket: Callable[[], str],
    same_as: Callable[[str, Path], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = bucket()
    layers = {"merged": "all.parquet", "footprints": "outlines.geojson"}
    there = jobs_file("there", f"{address}/maps/{{stem}}", **layers)
    here = jobs_file("here", "here/{stem}", **layers)
    for file in (there, here):
        assert run_command_line(["batch", str(file), "--quiet"]) == 0
    names = [f"{address}/maps/{name}" for name in ("a %231", "b", "c", "d")]
    for name, stem in zip(names, NAMES, strict=True):
        same_as(name, tmp_path / "here" / stem)
        assert report_of(Path(name))["fingerprint"] == report_of(tmp_path / "here" / stem)["fingerprint"]

    folders = tmp_path / "there-results", tmp_path / "here-results"
    tables = [rows_of(folder) for folder in folders]
    assert [row["job"] for row in tables[0]] == [row["out"] for row in tables[0]] == names
    for name in ("state", "fingerprint", "pixels tree", "area water"):
        assert [row[name] for row in tables[0]] == [row[name] for row in tables[1]]
    collection = pystac.Collection.from_file(str(folders[0] / "collection.json"))
    assert [link.href for link in collection.get_item_links()] == [f"{name}/item.json" for name in names]
    of_folders = pystac.Collection.from_file(str(folders[1] / "collection.json"))
    assert collection.extent.to_dict()["spatial"] == of_folders.extent.to_dict()["spatial"]
    merged = [gpd.read_parquet(folder / "all.parquet") for folder in folders]
    assert merged[0].drop(columns="scene").equals(merged[1].drop(columns="scene"))
    assert list(dict.fromkeys(merged[0]["scene"])) == names
    outlines = [gpd.read_file(folder / "outlines.geojson") for folder in folders]
    assert outlines[0].geometry.equals(outlines[1].geometry)
    assert list(outlines[0]["folder"]) == names

    before = versions(address)
    assert run_command_line(["batch", str(there), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["finished_before"] == len(NAMES)
    assert run_command_line(["batch", str(there), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["states"] == {"skipped": len(NAMES)}
    assert versions(address) == before


@pytest.mark.slow
@on_every_server
def test_what_changed_and_what_was_lost_is_seen_in_the_bucket(
    jobs_file: Callable[..., Path], bucket: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    address = bucket()
    first = jobs_file("jobs", f"{address}/{{stem}}", scene="[bc]")
    assert run_command_line(["batch", str(first), "--quiet"]) == 0
    place_at(f"{address}/b").delete("polygons.parquet")
    capsys.readouterr()
    assert run_command_line(["batch", str(first), "--dry-run", "--json"]) == 0
    assert [job["state"] for job in json.loads(capsys.readouterr().out)["jobs"]] == [
        "planned", "skipped",
    ]  # fmt: skip
    changed = jobs_file("jobs", f"{address}/{{stem}}", {"overlap": 0.5}, scene="[bc]")
    assert run_command_line(["batch", str(changed), "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert f"would fail: {address}/c: {address}/c: " in said
    assert "--overlap was 0.25" in said
    before, fingerprint = versions(address), report_of(Path(f"{address}/c"))["fingerprint"]
    assert run_command_line(["batch", str(changed), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["states"] == {"changed": 2}
    assert versions(address) == before
    again = ["batch", str(changed), "--json", "--restart-changed"]
    assert run_command_line([*again, "--dry-run"]) == 0
    capsys.readouterr()
    assert run_command_line(again) == 0
    assert json.loads(capsys.readouterr().out)["states"] == {"done": 2}
    assert report_of(Path(f"{address}/c"))["fingerprint"] != fingerprint


def test_a_bucket_that_is_not_there_fails_its_job_alone(
    scenes: Path,
    small_model: Path,
    bucket: Callable[[], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = bucket()
    jobs = [
        {"source": str(scenes / "b.tif"), "out": f"{where}/b"} for where in ("s3://there-is-none", address)
    ]
    settings = {"model": str(small_model), "device": "cpu", "precision": "fp32", "format": ["zarr"]}
    file = tmp_path / "jobs.yaml"
    file.write_text(yaml.safe_dump({"jobs": jobs, "defaults": settings}))
    assert run_command_line(["batch", str(file), "--dry-run"]) == 2
    assert run_command_line(["batch", str(file)]) == 1
    failed = [line for line in capsys.readouterr().err.splitlines() if "failed: s3://there-is-none/b" in line]
    assert len(failed) == 1
    assert "there is no such bucket" in failed[0]
    assert [row["state"] for row in rows_of(tmp_path / "jobs-results")] == ["failed", "done"]
    assert place_at(f"{address}/b").read("item.json") is not None


@pytest.mark.slow
def test_workers_do_whole_scenes_into_a_bucket(
    jobs_file: Callable[..., Path],
    bucket: Callable[[], str],
    same_as: Callable[[str, Path], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = bucket()
    assert run_command_line(["batch", str(jobs_file("here", "here/{stem}")), "--quiet"]) == 0
    there = jobs_file("there", f"{address}/maps/{{stem}}", {"workers": 1})
    log = tmp_path / "log"
    words = ["batch", str(there), "--json", "--log-file", str(log)]
    assert run_command_line(words) == 0
    assert json.loads(capsys.readouterr().out)["states"] == {"done": len(NAMES)}
    for name, stem in zip(("a %231", "b", "c", "d"), NAMES, strict=True):
        same_as(f"{address}/maps/{name}", tmp_path / "here" / stem)
    assert "not done on one worker" not in log.read_text()


@pytest.mark.slow  # Prefect's own server starts twice
def test_a_schedule_finds_what_is_finished_in_the_bucket(
    jobs_file: Callable[..., Path], bucket: Callable[[], str], tmp_path: Path
) -> None:
    pytest.importorskip("prefect", reason="the extra prefect is not installed")
    address = bucket()
    file = jobs_file("jobs", f"{address}/{{stem}}", scene="[bc]", results=f"{address}/table")
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "NO_COLOR": "1"}
    environment.pop("PREFECT_API_URL", None)

    def states() -> tuple[list[str], str]:
        code = "from segment_tiles.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, "schedule", str(file), "--now"],
            env=environment, capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), done.stderr

    assert states()[0] == [f"{address}/b: done", f"{address}/c: done"]
    assert place_at(f"{address}/table").list() == ["collection.json", "jobs.csv", "jobs.parquet"]
    before = versions(address)
    place_at(f"{address}/c").delete("polygons.parquet")
    said, log = states()
    assert said == [f"{address}/b: skipped", f"{address}/c: done"]
    assert f"Task run '{address}/b' - Finished in state Cached" in log
    after = versions(address)
    assert {key: after[key] for key in before if key.startswith("b/")} == {
        key: version for key, version in before.items() if key.startswith("b/")
    }
    assert after["c/polygons.parquet"] == before["c/polygons.parquet"]


@on_every_server
def test_a_folder_of_pictures_with_its_table(
    scenes: Path,
    small_model: Path,
    bucket: Callable[[], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = f"{bucket()}/maps"
    words = [
        str(scenes), "--model", str(small_model), "--out", address, "--precision", "fp32", "--device", "cpu",
        "--format", "zarr",
    ]  # fmt: skip
    assert run_command_line(["plan", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["to_do"] == len(NAMES)
    assert place_at(address).list() == []
    assert run_command_line(["run", *words]) == 0
    assert f"4 done; table and collection in {address}" in capsys.readouterr().out
    for name in ("jobs.csv", "jobs.parquet", "collection.json"):
        place_at(address).read_file(name, tmp_path / name)
    assert [row["out"] for row in rows_of(tmp_path)] == [
        f"{address}/{name}" for name in ("a %231", "b", "c", "d")
    ]
    links = pystac.Collection.from_file(str(tmp_path / "collection.json")).get_item_links()
    assert [link.href for link in links][1] == f"{address}/b/item.json"
    assert place_at(f"{address}/a %231").read("item.json") is not None
    assert run_command_line(["run", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["states"] == {"skipped": len(NAMES)}
    assert run_command_line(["run", *words[:4], address.rpartition("/")[0], *words[5:]]) == 2
    scheme = address.partition("://")[0]
    assert f"names a bucket, but nothing in it; give {scheme}://" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("s3://bucket/maps", r"would be written to s3://bucket/maps, as .*a #1\.tif of line 10 is"),
        ("s3://key:known@bucket/{stem}", r"out s3://bucket/b: has a user, a password or a query"),
        ("s3://bucket/{stem}?versionId=1", r"has a user, a password or a query"),
        ("gopher://bucket/{stem}", r"results cannot be written to gopher://"),
        ("/vsis3/bucket/{stem}", r"this can be written into a folder only"),
    ],
)
def test_outs_that_are_refused_with_their_line(out: str, words: str, jobs_file: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match=r"jobs\.yaml, line \d+: ") as error:
        list_jobs(read_jobs_file(jobs_file("jobs", out)))
    assert re.search(
        words.replace("line 10", r"line \d+").replace("bucket/b:", r"bucket/[^:]*:"), str(error.value)
    )
    assert "known" not in str(error.value)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("s3://bucket/a b", "s3://bucket/a%20b", "would be written to"),
        ("s3://bucket/a", "s3://bucket/a/b", "lies inside s3://bucket/a"),
        ("s3://bucket/a%20b", "s3://bucket/a b/c", "lies inside"),
    ],
)
def test_places_that_are_shared(
    first: str, second: str, words: str, scenes: Path, small_model: Path, tmp_path: Path
) -> None:
    jobs = [
        {"source": str(scenes / f"{name}.tif"), "out": out} for name, out in (("b", first), ("c", second))
    ]
    file = tmp_path / "jobs.yaml"
    file.write_text(yaml.safe_dump({"jobs": jobs, "defaults": {"model": str(small_model)}}))
    with pytest.raises(UsageError, match=words):
        list_jobs(read_jobs_file(file))


def test_a_file_url_is_a_folder(jobs_file: Callable[..., Path], tmp_path: Path) -> None:
    jobs = list_jobs(read_jobs_file(jobs_file("jobs", f"file://{tmp_path}/maps/{{stem}}")))
    assert [job.config.out for job in jobs][:2] == [tmp_path / "maps" / name for name in NAMES[:2]]
    assert [job.name for job in jobs][:2] == [f"maps/{name}" for name in NAMES[:2]]
