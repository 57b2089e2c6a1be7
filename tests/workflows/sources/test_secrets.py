"""Users, passwords and queries of URLs are nowhere; a source is the same under another signature, and what it was."""

from __future__ import annotations

import base64
import json
import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import ReadFailedError, SourceError, one_line
from segment_tiles.pipeline.library_messages import clean_log_records
from segment_tiles.pipeline.names import document_without_secrets, is_url, shown_name, without_secrets
from segment_tiles.pipeline.sources.versions.server import remote_version
from segment_tiles.pipeline.unforeseen import describe_unforeseen
from segment_tiles.workflows.batch.sources.mosaic import Mosaic, write_mosaic
from segment_tiles.workflows.batch.sources.scenes import ListedScene, _names
from segment_tiles.workflows.config import RunConfig

SECRETS = ("SIGNATURE", "PASSWORD", "OTHERTOKEN")


class Files(BaseHTTPRequestHandler):
    """Serves one file in ranges to who knows user and password and brings a token; says what it is told to say."""

    protocol_version = "HTTP/1.1"
    allowed = "Basic " + base64.b64encode(b"me:PASSWORD").decode()

    def __init__(self, state: dict[str, Any], *arguments: Any) -> None:
        self.state = state
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        self.state["asked"].append("HEAD")
        if not self.state["head"]:
            self.send_error(403)
        else:
            self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        if (
            self.headers.get("Authorization") != self.allowed
            or "token=" not in self.path
            or "gone" in self.path
        ):
            self.send_error(404 if "gone" in self.path else 401)
            return
        content: bytes = self.state["content"]
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(match[1]), int(match[2] or len(content) - 1)) if match else (0, len(content) - 1)
        part = content[first : last + 1]
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes")
        for name, value in self.state["headers"].items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(part)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(content: bytes, **headers: str) -> Iterator[tuple[str, dict[str, Any]]]:
    state: dict[str, Any] = {"content": content, "headers": headers, "head": True, "asked": []}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, state))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://me:PASSWORD@127.0.0.1:{server.server_port}", state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def scene(tmp_path: Path) -> bytes:
    values = np.random.default_rng(0).integers(0, 255, (3, 90, 120), dtype=np.uint8)
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(1, 0, 1000, 0, -1, 2000)}
    profile = {"driver": "GTiff", "width": 120, "height": 90, "count": 3, "dtype": "uint8"}
    with rasterio.open(tmp_path / "local.tif", "w", **profile, **place) as dataset:
        dataset.write(values)
    content = (tmp_path / "local.tif").read_bytes()
    (tmp_path / "local.tif").unlink()
    return content


def assert_no_secret(folder: Path, printed: Any) -> None:
    for secret in SECRETS:
        assert secret not in printed.out
        assert secret not in printed.err
        for path in folder.rglob("*"):
            assert secret not in path.name
            if path.is_file() and path.name != "jobs.yaml":  # which the user wrote
                assert secret.encode() not in path.read_bytes(), path


def test_a_run_keeps_no_secret_and_knows_its_source_again(
    scene: bytes, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rest = ["--model", str(small_model), "--precision", "fp32", "--device", "cpu"]
    formats = ["--format", "cog,parquet,gpkg,geojson", "--json"]
    out = tmp_path / "out"
    with served(scene, ETag='"first"') as (address, state):
        uri = f"{address}/scene.tif?token=SIGNATURE"
        for words in (["info", uri, "--json"], ["plan", uri, *rest, "--json"]):
            assert run_command_line(words) == 0
        assert run_command_line(["run", uri, *rest, *formats, "--out", str(out)]) == 0
        printed = capfd.readouterr()
        assert_no_secret(tmp_path, printed)
        record = json.loads((out / ".segment-tiles/run.json").read_text())
        assert record["settings"]["source"] == f"{address.replace('me:PASSWORD@', '')}/scene.tif"
        assert record["settings"]["source version"] == {"etag": '"first"', "bytes": len(scene)}
        assert json.loads((out / "report.json").read_text())["source"]["uri"] == record["settings"]["source"]
        again = ["run", f"{address}/scene.tif?token=OTHERTOKEN", *rest, *formats, "--out", str(out)]
        assert run_command_line(again) == 0
        assert json.loads(capfd.readouterr().out)["was_finished"] is True
        state["headers"]["ETag"] = '"second"'
        assert run_command_line(again) == 2
        printed = capfd.readouterr()
        assert "source version was" in printed.err
        assert_no_secret(tmp_path, printed)


def test_a_batch_and_its_failures_keep_no_secret(
    scene: bytes, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with served(scene) as (address, _):
        sources = [
            f"{address}/scene.tif?token=SIGNATURE",
            f"{address}/gone.tif?token=SIGNATURE",
        ]
        settings = {"model": str(small_model), "precision": "fp32", "device": "cpu", "format": ["zarr"]}
        jobs = tmp_path / "jobs.yaml"
        jobs.write_text(
            yaml.safe_dump({"out": "{results}/{stem}", "defaults": settings, "jobs": [{"source": sources}]})
        )
        for words, status in ((["--dry-run", "--json"], 2), (["--json"], 1)):
            assert run_command_line(["batch", str(jobs), *words]) == status
            assert_no_secret(tmp_path / "jobs-results", capfd.readouterr())
        table = (tmp_path / "jobs-results/jobs.csv").read_text()
        assert "/scene.tif" in table
        assert "/gone.tif" in table
        mosaic = Mosaic((sources[0],), None, None)
        with pytest.raises(SourceError, match="index of a mosaic") as error:
            write_mosaic(mosaic, tmp_path / "m.gti.gpkg")
        assert not any(secret in str(error.value) for secret in SECRETS)


def test_what_servers_say_of_versions(scene: bytes) -> None:
    with served(scene, **{"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}) as (address, state):
        uri = f"{address}/scene.tif?token=SIGNATURE"
        expected = {"last modified": "Wed, 21 Oct 2015 07:28:00 GMT", "bytes": len(scene)}
        assert remote_version(uri) == expected
        assert remote_version(f"/vsicurl/{uri}") == expected
        state["head"] = False  # as where a URL is signed for GET
        assert remote_version(uri) == expected
        assert remote_version(f"{address}/gone.tif?token=SIGNATURE") is None
        assert remote_version(uri.replace("PASSWORD", "guess")) is None
        state["headers"].clear()
        assert remote_version(uri) == {"bytes": len(scene)}
    assert remote_version(uri) is None  # nobody answers
    assert remote_version("scene.tif") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://u:p@h/a.tif?x=1#y", "https://h/a.tif"),
        ("https://u:p@ss@h:8080/a.tif", "https://h:8080/a.tif"),
        ("s3://bucket/icon@2x.tif", "s3://bucket/icon@2x.tif"),
        ("s3://key:secret@bucket/a.tif", "s3://bucket/a.tif"),
        ("/vsicurl/https://u:p@h/a.tif?t=S", "/vsicurl/https://h/a.tif"),
        ("/vsicurl?use_head=no&url=https%3A%2F%2Fu%3Ap%40h%2Fa.tif%3Ft%3DS", "/vsicurl/https://h/a.tif"),
        ("/vsizip/{/vsicurl/https://h/a.zip?t=S}/b.tif", "/vsizip/{/vsicurl/https://h/a.zip}/b.tif"),
        ("/vsiaz/maps/a.tif?sig=S", "/vsiaz/maps/a.tif"),
        ('NETCDF:"https://h/a.nc?t=S":v', 'NETCDF:"https://h/a.nc":v'),
        ("vrt://a.tif?bands=3,2,1", "vrt://a.tif?bands=3,2,1"),
        ("vrt:///vsicurl/https://u:p@h/a.tif", "vrt:///vsicurl/https://h/a.tif"),
        ("PG:host=h user=me password=S table=t", "PG:host=h user=me password=... table=t"),
        ("maps/what?/token=5.tif", "maps/what?/token=5.tif"),
        (r"C:\maps\a.tif", r"C:\maps\a.tif"),
        ("no (https://h/a?t=S), nor 'https://h/b?t=S'.", "no (https://h/a), nor 'https://h/b'."),
    ],
)
def test_texts(text: str, expected: str) -> None:
    assert without_secrets(text) == expected
    assert without_secrets(expected) == expected
    assert document_without_secrets({"a": [text, 1]})["a"][1] == 1


def test_names_of_windows_are_paths() -> None:
    for name in (r"C:\maps\a.tif", "C:/maps/a.tif", "C://maps/a.tif", r"\\server\maps\a.tif"):
        assert not is_url(name)
        assert shown_name(name) == name
    assert is_url("https://h/a.tif")
    assert is_url("/vsis3/b/a.tif")


def test_errors_logs_and_values_show_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "https://me:PASSWORD@host/a.tif?token=SIGNATURE"
    shown = [str(ReadFailedError(f"{uri}: cannot be read")), one_line(ValueError(uri))]
    shown.append(repr(RunConfig(uri, "model", tmp_path)) + repr(ListedScene(uri, _names(uri))))
    monkeypatch.chdir(tmp_path)
    try:
        raise ValueError(uri)
    except ValueError as error:
        shown.append(describe_unforeseen(error, ["info", uri]))
        shown += [path.read_text() for path in tmp_path.glob("segment-tiles-error-*.txt")]
        before = logging.getLogRecordFactory()
        try:
            clean_log_records()
            made = logging.getLogRecordFactory()
            clean_log_records()
            assert logging.getLogRecordFactory() is made
            trace = (ValueError, error, error.__traceback__)
            record = made("a", logging.ERROR, __file__, 1, "failed: %s", (uri,), trace)
            assert "failed: https://host/a.tif" in logging.Formatter().format(record)
            shown.append(logging.Formatter().format(record))
        finally:
            logging.setLogRecordFactory(before)
    assert len(shown) == 6
    for text in shown:
        assert not any(secret in text for secret in SECRETS), text


def test_the_check_sees_inside_a_geopackage(tmp_path: Path) -> None:
    """The search for secrets would find one: SQLite keeps text as it is."""
    with sqlite3.connect(tmp_path / "a.gpkg") as database:
        database.execute("create table t (a text)")
        database.execute("insert into t values ('token=SIGNATURE')")
    database.close()
    assert b"SIGNATURE" in (tmp_path / "a.gpkg").read_bytes()
