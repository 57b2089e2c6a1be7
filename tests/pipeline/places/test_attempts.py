"""Requests that are tried again, and counted: what a server answered is what is said to have been asked."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
from servers.between import Cable, serving, unreliable

from segment_tiles.pipeline.errors import PlaceError
from segment_tiles.pipeline.places.address import place_at


def test_all_requests_and_retries_of_every_method_are_counted(
    s3: str, bucket: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, file = f"{bucket()}/maps", tmp_path / "file"
    file.write_bytes(b"x" * 300_000)
    with unreliable(s3, 5, share=0.3) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        place = place_at(address, 120)
        place.put("a", b"1")
        found = place.read("a")
        assert found is not None
        place.replace("a", b"2", found.version)
        place.put_if_absent("b", b"3")
        place.put_file("file", file)
        place.read_file("file", tmp_path / "again")
        assert place.read_range("file", 5, 10) == b"x" * 10
        assert place.list() == ["a", "b", "file"]
        assert place.read("c") is None
        place.delete("a")
        place.delete_all(["b", "c", "file"])
        assert place.list() == []
        assert between.failed
        assert place.traffic.retries == len(between.failed)
        assert place.traffic.requests == len(between.asked)
        assert place.traffic.received == 1 + 300_000 + 10
        assert place.traffic.sent > 3 + 300_000
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_a_large_file_whose_last_answer_is_lost_is_there(
    s3: str, bucket: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, file = f"{bucket()}/maps", tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 2**15 * 3)
    with unreliable(s3, 3, share=0.2) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        place_at(address, 120).put_file("file", file)
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
        assert place_at(address).sizes() == {"file": file.stat().st_size}


class CutsOff(BaseHTTPRequestHandler):
    """An object of which each request gives a third at most."""

    content = bytes(range(256)) * 2**14 * 3
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.asked.append(asked)
        start = 0 if asked is None else int(asked.removeprefix("bytes=").split("-")[0])
        rest = self.content[start:]
        self.send_response(200 if asked is None else 206)
        if asked is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", '"one"')
        self.send_header("Last-Modified", "Mon, 30 Nov 2026 12:00:00 GMT")
        self.end_headers()
        self.wfile.write(rest[: len(self.content) // 3])

    def log_message(self, *_: object) -> None: ...


@pytest.mark.usefixtures("s3")
def test_a_download_that_breaks_off_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(CutsOff) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        place = place_at("s3://bucket/maps")
        place.read_file("file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CutsOff.content
    assert CutsOff.asked[0] is None
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in CutsOff.asked[1:] if asked]
    assert starts == sorted(set(starts))
    assert starts[0] > 2 * 2**20
    assert place.traffic.retries == len(starts) < 5
    assert place.traffic.received == len(CutsOff.content)


def test_a_store_that_is_gone_is_waited_for_once(
    s3: str, bucket: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, cable = bucket(), Cable(s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", cable.url)
    place = place_at(address, 3)
    place.put("a", b"")
    cable.pull("refused")
    with pytest.raises(PlaceError, match="does not answer as it should, after retries"):
        place.put("a", b"")
    retries = place.traffic.retries
    assert retries > 0
    with pytest.raises(PlaceError, match="does not answer as it should, after retries"):
        place.read("a")
    assert place.traffic.retries == retries
    cable.put_back()
    place.put("a", b"1")
    cable.close()
