"""What servers say of a version: real servers on loopback, asked for the file that counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio

from segment_tiles.pipeline.errors import SourceChangedError
from segment_tiles.pipeline.sources.versions import server as server_module
from segment_tiles.pipeline.sources.versions.server import answer_of, remote_version
from segment_tiles.pipeline.sources.versions.version import (
    KnownVersion,
    known_version,
    source_version,
    unwatched_note,
)


@dataclass
class Answers:
    """What a server says, by path; what it was asked for."""

    address: str = ""
    etags: dict[str, str | None] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    """Statuses of the next answers."""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    monkeypatch.setattr(server_module, "WAITS", (0.0, 0.0))
    told = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            told.asked.append(self.path)
            status = told.failures.pop(0) if told.failures else 200 if self.path in told.etags else 404
            self.send_response(status)
            if status == 200 and (etag := told.etags[self.path]) is not None:
                self.send_header("ETag", etag)
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        told.address = f"http://127.0.0.1:{server.server_port}"
        yield told
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("{}/a.tif", "/a.tif"),
        ("/vsicurl/{}/a.tif", "/a.tif"),
        ("vrt:///vsicurl/{}/a.tif?a_nodata=0", "/a.tif"),
        ("/vsizip//vsicurl/{}/a.zip/inner/b.tif", "/a.zip"),
        ("/vsizip/{{/vsicurl/{}/a.zip}}/b.tif", "/a.zip"),
        ("/vsitar//vsicurl/{}/a.tar.gz/b.tif", "/a.tar.gz"),
        ("zip+{}/a.zip!b.tif", "/a.zip"),
    ],
)
def test_the_file_that_counts_is_asked_for(answers: Answers, name: str, asked: str) -> None:
    answers.etags[asked] = '"one"'
    assert remote_version(name.format(answers.address)) == {"etag": '"one"'}
    assert answers.asked == [asked]


@pytest.mark.parametrize("name", ["zarr.json", ".zattrs"])
def test_of_a_zarr_its_metadata_count(answers: Answers, name: str) -> None:
    answers.etags[f"/image.zarr/{name}"] = '"one"'
    assert remote_version(f"{answers.address}/image.zarr/") == {"file": name, "etag": '"one"'}


def test_a_server_that_is_busy_is_asked_again(answers: Answers) -> None:
    answers.etags["/a.tif"] = '"one"'
    answers.failures = [503, 500]
    assert remote_version(f"{answers.address}/a.tif") == {"etag": '"one"'}


def test_a_server_that_tells_nothing_is_told_from_one_that_is_silent(answers: Answers) -> None:
    answers.etags["/a.tif"] = None
    uri = f"{answers.address}/a.tif"
    assert answer_of(uri) == {}
    assert remote_version(uri) is None
    answers.failures = [500] * 10
    assert answer_of(uri) is None


def vrt_of_two(folder: Path, address: str) -> Path:
    """Write a VRT of a local raster and one on a server."""
    with rasterio.open(
        folder / "west.tif", "w", driver="GTiff", count=1, height=8, width=8, dtype="uint8"
    ) as dataset:
        dataset.write(np.ones((1, 8, 8), np.uint8))
    sources = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="0">{name}</SourceFilename><SourceBand>1</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="8" ySize="8"/><DstRect xOff="{column}" yOff="0" xSize="8" ySize="8"/>'
        "</SimpleSource>"
        for name, column in ((folder / "west.tif", 0), (f"/vsicurl/{address}/east.tif", 8))
    )
    path = folder / "both.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="16" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1">{sources}'
        "</VRTRasterBand></VRTDataset>"
    )
    return path


@pytest.fixture
def known_of_two(answers: Answers, tmp_path: Path) -> KnownVersion:
    """What is known of a VRT of a local raster and one on a server."""
    answers.etags["/east.tif"] = '"one"'
    return known_version(str(vrt_of_two(tmp_path, answers.address)))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_silent_server_of_a_member_is_no_change_and_another_answer_is(
    answers: Answers, known_of_two: KnownVersion
) -> None:
    known_of_two.require_same()
    answers.failures = [500] * 10
    known_of_two.require_same()
    answers.failures = []
    known_of_two.require_same()
    answers.etags["/east.tif"] = '"two"'
    with pytest.raises(SourceChangedError, match=r"servers say [0-9a-f]{12}.*servers say"):
        known_of_two.require_same()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_change_of_a_local_member_is_one_though_a_server_is_silent(
    answers: Answers, known_of_two: KnownVersion, tmp_path: Path
) -> None:
    (tmp_path / "west.tif").write_bytes((tmp_path / "west.tif").read_bytes() + b"\0")
    answers.failures = [500] * 10
    with pytest.raises(SourceChangedError):
        known_of_two.require_same()


def test_what_nobody_tells_is_said() -> None:
    assert source_version("gs://bucket/a.tif") is None
    note = unwatched_note("gs://bucket/a.tif", None)
    assert note is not None
    assert "nobody notices" in note
    assert unwatched_note("scene.tif", None) is None
