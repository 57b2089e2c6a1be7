"""Google's storage-testbench, with a gateway to the requests of Google's XML interface that it does not know.

The testbench has the objects, their generations and the conditions, and answers PUT and GET of the XML interface, which
obstore uses. The gateway adds the headers that the testbench leaves out there, and makes lists, removals and uploads in
parts of requests to the testbench's JSON interface.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit
from uuid import uuid4
from xml.etree import ElementTree

from segment_tiles.pipeline.sources.buckets.google import EMULATOR
from servers.local import Server, free_port, process, wait_for

INSTALLED = Path(__file__).parents[2] / "build" / "servers" / "storage-testbench"
NEEDS = (
    "storage-testbench is not there: git clone https://github.com/googleapis/storage-testbench into build/servers, and "
    "make a .venv in it with pip install ."
)
NOT_PASSED = frozenset({"connection", "transfer-encoding", "content-length", "date", "server"})


def program() -> str | None:
    """Return the path of the server that runs it, if it is there."""
    found = INSTALLED / ".venv" / "bin" / "gunicorn"
    return str(found) if found.is_file() else None


@contextmanager
def testbench(folder: Path) -> Iterator[Server]:
    """Serve buckets, with objects in memory."""
    found = program()
    assert found is not None, NEEDS
    port, log = free_port(), folder / "testbench.log"
    target = f"http://127.0.0.1:{port}"
    command = [found, f"--chdir={INSTALLED}", f"--bind=127.0.0.1:{port}", "--threads=8", "testbench:run()"]

    def make(name: str) -> None:
        data = json.dumps({"name": name}).encode()
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(f"{target}/storage/v1/b?project=tests", data, headers)
        urllib.request.urlopen(asked, timeout=10).close()

    # its own variable for a bucket that is always there, which a name of ours must not be
    with process(command, log, GOOGLE_CLOUD_CPP_STORAGE_TEST_BUCKET_NAME="always-there") as started:
        wait_for(port, started, log)
        with _gateway(target) as url:
            # the last two for GDAL, which reads sources
            settings = {EMULATOR: url, "CPL_GS_ENDPOINT": f"{url}/", "GS_NO_SIGN_REQUEST": "YES"}
            yield Server("gs", url, settings, make, started.pid)


@contextmanager
def _gateway(target: str) -> Iterator[str]:
    handler = type("Own", (Gateway,), {"target": target, "parts": {}, "taking": Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Gateway(BaseHTTPRequestHandler):
    """Answers the XML interface of a bucket."""

    protocol_version = "HTTP/1.1"
    target: ClassVar[str]
    parts: ClassVar[dict[str, dict[int, bytes]]]
    taking: ClassVar[Lock]

    def do_GET(self) -> None:
        """Pass an object on, or list a bucket."""
        query = self._query()
        if "list-type" in query:
            self._list(query)
        else:
            self._pass_on()

    def do_HEAD(self) -> None:
        """Pass it on."""
        self._pass_on()

    def do_PUT(self) -> None:
        """Pass an object on, or keep a part of one."""
        query = self._query()
        if "uploadId" not in query:
            self._pass_on()
            return
        with self.taking:
            self.parts[query["uploadId"]][int(query["partNumber"])] = self._body()
        self._answer(200, b"", {"ETag": f'"{uuid4().hex}"'})

    def do_POST(self) -> None:
        """Begin or end an upload in parts."""
        query, body = self._query(), self._body()
        bucket, name = self._names()
        if "uploads" in query:
            upload = uuid4().hex
            self.parts[upload] = {}
            self._answer(200, _xml("InitiateMultipartUploadResult", Bucket=bucket, Key=name, UploadId=upload))
            return
        kept = self.parts.pop(query["uploadId"])
        wanted = [int(str(part.findtext("{*}PartNumber"))) for part in ElementTree.fromstring(body)]
        whole = b"".join(kept[number] for number in wanted)
        # of what urllib takes it for, a form, the testbench would keep nothing
        self._ask("PUT", self.path.partition("?")[0], whole, {"Content-Type": "application/octet-stream"})
        self._answer(
            200, _xml("CompleteMultipartUploadResult", Bucket=bucket, Key=name, ETag=self._facts()["ETag"])
        )

    def do_DELETE(self) -> None:
        """Remove an object, or an upload that was given up."""
        query = self._query()
        if "uploadId" in query:
            self.parts.pop(query["uploadId"], None)
            self._answer(204, b"")
            return
        status, content, _ = self._ask("DELETE", self._json_path())
        self._answer(status, content)

    def _list(self, query: Mapping[str, str]) -> None:
        names = {"prefix": "prefix", "continuation-token": "pageToken", "max-keys": "maxResults"}
        bucket = self._names()[0]
        asked = urlencode({to: query[name] for name, to in names.items() if name in query})
        status, content, _ = self._ask("GET", f"/storage/v1/b/{bucket}/o?{asked}")
        if status != 200:
            self._answer(status, _xml("Error", Code="NoSuchBucket") if status == 404 else content)
            return
        found = json.loads(content)
        entries = [
            (
                "Contents",
                {
                    "Key": entry["name"],
                    "LastModified": entry["updated"],
                    "ETag": entry["etag"],
                    "Size": entry.get("size", "0"),
                },
            )
            for entry in found.get("items", [])
        ]
        token = found.get("nextPageToken")
        more = {"NextContinuationToken": token} if token else {}
        flag = "true" if token else "false"
        self._answer(200, _xml("ListBucketResult", *entries, Name=bucket, IsTruncated=flag, **more))

    def _pass_on(self) -> None:
        data = self._body() if self.command == "PUT" else None
        status, content, headers = self._ask(self.command, self.path, data, dict(self.headers))
        if status < 300:
            headers |= self._facts()
        elif status == 404 and self._ask("GET", f"/storage/v1/b/{self._names()[0]}")[0] == 404:
            content = _xml("Error", Code="NoSuchBucket")
        self._answer(status, content, headers)

    def _facts(self) -> dict[str, str]:
        """Return the headers that the testbench has for its JSON interface alone."""
        entry: dict[str, Any] = json.loads(self._ask("GET", self._json_path())[1])
        changed = format_datetime(datetime.fromisoformat(entry["updated"]), usegmt=True)
        return {
            "ETag": f'"{entry["etag"]}"',
            "Last-Modified": changed,
            "x-goog-generation": entry["generation"],
        }

    def _ask(
        self, method: str, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        kept = {
            name: value
            for name, value in (headers or {}).items()
            if name.lower() not in {*NOT_PASSED, "host"}
        }
        request = urllib.request.Request(f"{self.target}{path}", data, kept, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read(), dict(answer.headers)

    def _names(self) -> tuple[str, str]:
        bucket, _, name = urlsplit(self.path).path.strip("/").partition("/")
        return bucket, unquote(name)

    def _json_path(self) -> str:
        bucket, name = self._names()
        return f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"

    def _query(self) -> dict[str, str]:
        return {
            name: values[0]
            for name, values in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()
        }

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        size = str(len(content))
        for name, value in (headers or {}).items():
            if name.lower() == "content-length" and self.command == "HEAD":
                size = value
            elif name.lower() not in NOT_PASSED:
                self.send_header(name, value)
        self.send_header("Content-Length", size)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None: ...


def _xml(top: str, *entries: tuple[str, Mapping[str, Any]], **fields: str) -> bytes:
    made = ElementTree.Element(top)
    for name, value in fields.items():
        ElementTree.SubElement(made, name).text = value
    for name, inner in entries:
        entry = ElementTree.SubElement(made, name)
        for field, value in inner.items():
            ElementTree.SubElement(entry, field).text = str(value)
    return ElementTree.tostring(made)
