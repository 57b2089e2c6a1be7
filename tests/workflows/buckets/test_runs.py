"""Runs into a bucket: the bytes of a run into a folder, whole or not at all, and continued from what is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers.s3_server import SERVERS, on_every_server

import segment_tiles
from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import ChangedRunError, OutputError, PlaceError
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.workflows.buckets.address import address_of, on_this_disk
from segment_tiles.workflows.buckets.objects import SyncedFolder


def versions(address: str) -> dict[str, str]:
    place = place_at(address)
    found = {key: place.read(key) for key in place.list() if not key.endswith("lease.json")}
    return {key: entry.version for key, entry in found.items() if entry is not None}


@pytest.mark.parametrize("bucket", [*SERVERS, "memory"], indirect=True)
def test_the_bytes_are_those_of_a_run_into_a_folder(
    run_into: Callable[..., Any],
    same_as_in_folder: Callable[[str], None],
    bucket: Callable[[], str],
) -> None:
    address = f"{bucket()}/maps/a b"
    result = run_into(address)
    assert not result.was_finished
    same_as_in_folder(address)
    place = result.report["place"]
    assert place["url"] == address
    assert place["requests"] > 0
    assert place["sent_bytes"] > 10_000


@on_every_server
def test_a_finished_run_is_not_touched_again(run_into: Callable[..., Any], bucket: Callable[[], str]) -> None:
    address = f"{bucket()}/maps"
    first = run_into(address)
    before = versions(address)
    again = run_into(address)
    assert again.was_finished
    assert {**again.report, "place": None} == {**first.report, "place": None}
    for what in ("requests", "sent_bytes"):
        assert 0 < again.report["place"][what] < first.report["place"][what], "without itself in the bucket"
    assert versions(address) == before


@on_every_server
def test_a_further_format_is_added_and_the_rest_stays(
    run_into: Callable[..., Any], bucket: Callable[[], str]
) -> None:
    address = f"{bucket()}/maps"
    run_into(address)
    before = versions(address)
    result = run_into(address, formats=("cog", "geojson", "parquet"))
    assert result.report["tiles"]["computed"] > 0, "as the first start reported it"
    after = versions(address)
    changed = {key for key in after if after[key] != before.get(key)}
    assert "polygons.parquet" in changed
    assert not [key for key in changed if key.startswith("classes.")]


@on_every_server
def test_what_was_removed_is_made_again(
    run_into: Callable[..., Any], same_as_in_folder: Callable[[str], None], bucket: Callable[[], str]
) -> None:
    address = f"{bucket()}/maps"
    run_into(address)
    place_at(address).delete("classes.zarr/classes/c/1/0")
    run_into(address)
    same_as_in_folder(address)


@on_every_server
def test_a_command_that_was_killed_while_it_added_formats_costs_no_computation(
    run_into: Callable[..., Any], same_as_in_folder: Callable[[str], None], bucket: Callable[[], str]
) -> None:
    address = f"{bucket()}/maps"
    run_into(address)
    before = versions(address)
    for key in ("item.json", ".segment-tiles/complete.json", "polygons.geojson"):
        place_at(address).delete(key)
    run_into(address)
    same_as_in_folder(address)
    after = versions(address)
    assert all(after[key] == before[key] for key in after if key.startswith("classes."))


@pytest.mark.parametrize("last", [".segment-tiles/complete.json", "item.json"])
def test_a_command_that_is_killed_at_its_very_end_leaves_no_rows(
    last: str,
    run_into: Callable[..., Any],
    same_as_in_folder: Callable[[str], None],
    bucket: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once a result is whole, nothing asks what is left beside it."""
    address, put_over = f"{bucket()}/maps", SyncedFolder._put_over

    def killed(self: SyncedFolder, key: str, content: bytes) -> None:
        put_over(self, key, content)
        if key == last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SyncedFolder, "_put_over", killed)
        with pytest.raises(KeyboardInterrupt):
            run_into(address)
    assert last in place_at(address).list()
    assert not [key for key in place_at(address).list() if "/rows/" in key]
    run_into(address)
    same_as_in_folder(address)


def test_the_store_of_another_run_does_not_stand_for_that_of_this_one(
    run_into: Callable[..., Any], same_as_in_folder: Callable[[str], None], bucket: Callable[[], str]
) -> None:
    address = f"{bucket()}/maps"
    run_into(address, overlap=0.5)

    class Stops:
        warn = stage = planned = staticmethod(lambda *_: None)

        def tiles(self, computed: int, skipped: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_into(address, Stops(), restart=True)
    run_into(address)
    same_as_in_folder(address)


def test_other_settings_are_refused_by_the_url_and_restart_begins_anew(
    run_into: Callable[..., Any], same_as_in_folder: Callable[[str], None], bucket: Callable[[], str]
) -> None:
    address = f"{bucket()}/maps"
    run_into(address, overlap=0.5, formats=("cog", "parquet"))
    with pytest.raises(ChangedRunError, match=f"{address}: .*--overlap was 0.5"):
        run_into(address)
    run_into(address, restart=True)
    same_as_in_folder(address)


@on_every_server
def test_a_reader_in_the_middle_sees_no_whole_result(
    run_into: Callable[..., Any], bucket: Callable[[], str]
) -> None:
    address = f"{bucket()}/maps"
    seen: list[set[str]] = []

    class Looks:
        def warn(self, text: str) -> None: ...

        def stage(self, name: str) -> None:
            seen.append(set(place_at(address).list()))

        def planned(self, plan: Any) -> None: ...

        def tiles(self, computed: int, skipped: int) -> None:
            seen.append(set(place_at(address).list()))

    run_into(address, Looks())
    run_into(address, Looks(), restart=True, overlap=0.5)
    in_work = [keys for keys in seen if any("/rows/" in key for key in keys)]
    assert in_work
    assert not [keys for keys in in_work if {"item.json", ".segment-tiles/complete.json"} & keys]


def test_the_files_of_others_are_neither_mixed_nor_removed(
    run_into: Callable[..., Any], bucket: Callable[[], str]
) -> None:
    address = f"{bucket()}/maps"
    place_at(address).put("letters/a.txt", b"mine")
    with pytest.raises(OutputError, match=r"letters/a\.txt"):
        run_into(address)
    assert place_at(address).list() == ["letters/a.txt"]
    beside = f"{bucket()}/maps"
    run_into(beside)
    place_at(beside).put("notes.txt", b"mine")
    run_into(beside, restart=True, overlap=0.5)
    assert "notes.txt" in place_at(beside).list()


def test_a_refused_run_leaves_no_trace(run_into: Callable[..., Any], bucket: Callable[[], str]) -> None:
    address = f"{bucket()}/maps"
    with pytest.raises(Exception, match="nowhere"):
        run_into(address, source="nowhere.tif")
    assert place_at(address).list() == []


def test_damaged_rows_are_computed_again(
    run_into: Callable[..., Any],
    same_as_in_folder: Callable[[str], None],
    bucket: Callable[[], str],
    quiet: Any,
) -> None:
    address = f"{bucket()}/maps"

    class Stops:
        warn = tiles = planned = staticmethod(lambda *_: None)

        def stage(self, name: str) -> None:
            # all rows are there, and the result is not
            if [key for key in place_at(address).list() if "/rows/" in key]:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_into(address, Stops())
    rows = [key for key in place_at(address).list() if "/rows/" in key]
    assert len(rows) == 3
    found = place_at(address).read(rows[0])
    assert found is not None
    place_at(address).put(rows[0], found.data[:-100])
    second = run_into(address)
    same_as_in_folder(address)
    assert 0 < second.report["tiles"]["computed"] < second.report["tiles"]["planned"]


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("ftp://host/maps", ("ftp://", "s3://", "gs://", "az://")),
        ("s3://there-is-none/maps", ("there is no such bucket",)),
    ],
)
def test_what_cannot_be_written_to_is_refused_in_one_line(
    out: str,
    words: tuple[str, ...],
    scene: Path,
    small_model: Path,
    s3: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["run", str(scene), "--model", str(small_model), "--out", out]
    assert run_command_line(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1
    assert all(word in lines[0] for word in (*words, out))


def test_no_credentials_is_said_before_anything_is_computed(
    run_into: Callable[..., Any], bucket: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = bucket()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(PlaceError, match="no credentials; set AWS_PROFILE"):
        run_into(address)


def test_a_file_url_is_a_folder(run_into: Callable[..., Any], tmp_path: Path) -> None:
    run_into(f"file://{tmp_path}/a%20b", formats=("zarr",))
    assert json.loads((tmp_path / "a b" / "report.json").read_text())["status"] == "complete"


def test_paths_that_were_urls() -> None:
    assert address_of(Path("s3://bucket/a/b")) == "s3://bucket/a/b"
    assert address_of(Path("C:/maps")) is None
    assert address_of(Path()) is None
    assert on_this_disk(Path("maps")) == Path("maps")


@on_every_server
def test_python_opens_a_result_by_its_url(
    run_into: Callable[..., Any], bucket: Callable[[], str], in_folder: Path
) -> None:
    address = f"{bucket()}/maps"
    with pytest.raises(OutputError, match="holds no"):
        segment_tiles.open_result(address)
    run_into(address)
    found = segment_tiles.open_result(address)
    assert found.report["place"]["url"] == address
    assert found.classes.equals(segment_tiles.open_result(in_folder).classes)
    assert len(found.polygons()) == len(segment_tiles.open_result(in_folder).polygons())
    run_into(address, overlap=0.5, restart=True)
    assert not segment_tiles.open_result(address).classes.equals(found.classes)


@on_every_server
def test_commands_read_and_write_by_url(
    run_into: Callable[..., Any], bucket: Callable[[], str], in_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    address = f"{bucket()}/maps"
    run_into(address)
    place = place_at(address)
    assert run_command_line(["export", address, "--format", "fgb"]) == 0
    assert f"{address}/polygons.fgb" in capsys.readouterr().out
    assert place.read("polygons.fgb") is not None
    assert run_command_line(["polygonize", address, "--out", f"{address}-polygons/a.geojson", "--quiet"]) == 0
    assert (
        run_command_line(["polygonize", str(in_folder), "--out", str(tmp_path / "a.geojson"), "--quiet"]) == 0
    )
    made = place_at(f"{address}-polygons").read("a.geojson")
    assert made is not None
    assert made.data == (tmp_path / "a.geojson").read_bytes()
    assert run_command_line(["evaluate", address, address, "--json", "--out", f"{address}-scores"]) == 0
    assert json.loads(capsys.readouterr().out)["mean_iou"] == 1.0
    assert "evaluation.json" in place_at(f"{address}-scores").list()


def test_clean_leaves_what_is_not_of_a_run(bucket: Callable[[], str], capsys: Any) -> None:
    address = f"{bucket()}/mine"
    place_at(address).put("polygons.gpkg", b"mine")
    assert run_command_line(["clean", address, "--yes"]) == 2
    assert "not of a run (polygons.gpkg)" in capsys.readouterr().err
    assert place_at(address).list() == ["polygons.gpkg"]


def test_a_file_of_the_user_with_a_name_of_ours_survives_a_further_format(
    run_into: Callable[..., Any], bucket: Callable[[], str]
) -> None:
    address = f"{bucket()}/maps"
    run_into(address)
    place_at(address).put("polygons.gpkg", b"of polygonize")
    run_into(address, formats=("cog", "geojson", "parquet"))
    assert {"polygons.gpkg", "polygons.parquet"} <= set(place_at(address).list())


@on_every_server
def test_clean_names_what_is_left_and_removes_it(
    bucket: Callable[[], str], run_into: Callable[..., Any], capsys: Any
) -> None:
    address = f"{bucket()}/maps"
    run_into(address)
    whole = set(place_at(address).list())
    place_at(address).put(".segment-tiles/rows/of-another-run/ledger/row-0-columns-0-1.zip", b"left")
    place_at(address).put(".segment-tiles/files/of-another-run/mask/index.json", b"{}")
    place_at(address).put("notes.txt", b"mine")
    assert run_command_line(["clean", address]) == 0
    assert "of-another-run" in capsys.readouterr().out
    assert len(place_at(address).list()) == len(whole) + 3
    assert run_command_line(["clean", address, "--yes", "--json"]) == 0
    assert sorted(entry["bytes"] for entry in json.loads(capsys.readouterr().out)["objects"]) == [2, 4]
    assert set(place_at(address).list()) == whole | {"notes.txt"}
    place_at(address).delete(".segment-tiles/complete.json")
    assert run_command_line(["clean", address, "--yes"]) == 0
    assert place_at(address).list() == ["notes.txt"]
    assert run_command_line(["clean", str(Path("maps"))]) == 2
