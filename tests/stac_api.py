"""A STAC API on loopback, written from the specification: `python stac_api.py FOLDER`; prints its port.

FOLDER holds items (`*.item.json`) and the files of their assets. `/search` answers POST, two items to a page; the link
to the next page wants another POST, whose body is to be merged with the first. An asset is given under `?sig=KEY`
alone, where KEY stands in the file `key`. While a file `runs-out` lies in the folder, the first request for the second
half of an asset finds that its signature has run out: `runs-out` goes, and `key` holds the next one. What was refused
is written down in `refused`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from served_folder import serve, serving

PAGE = 2
CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "https://api.stacspec.org/v1.0.0-rc.1/item-search#query",
    "https://api.stacspec.org/v1.0.0/item-search#query",
]


def matches(item: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Whether an item is one that a search asks for."""
    told = item["properties"]
    if asked.get("collections") and item.get("collection") not in asked["collections"]:
        return False
    if "bbox" in asked:
        west, south, east, north = asked["bbox"]
        low_x, low_y, high_x, high_y = item["bbox"]
        if low_x > east or high_x < west or low_y > north or high_y < south:
            return False
    if "datetime" in asked:
        first, _, last = asked["datetime"].partition("/")
        if not first <= told["datetime"] <= (last or first):
            return False
    return all(told[name] < condition["lt"] for name, condition in asked.get("query", {}).items())


class Api(BaseHTTPRequestHandler):
    """Landing page, search by POST, and signed assets."""

    protocol_version = "HTTP/1.1"
    folder: ClassVar[Path]

    @property
    def address(self) -> str:
        return f"http://{self.headers['Host']}"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        items = [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.item.json"))]
        found = [item for item in items if matches(item, asked)]
        for order in reversed(asked.get("sortby", [])):
            key = order["field"].removeprefix("properties.")
            found.sort(
                key=lambda item, key=key: item["properties"][key], reverse=order["direction"] == "desc"
            )
        start = int(asked.get("token", 0))
        page = found[start : start + PAGE]
        for item in page:
            for asset in item["assets"].values():
                asset["href"] = f"{self.address}/{asset['href']}"
        links = []
        if start + PAGE < len(found):
            body = {"token": str(start + PAGE)}
            links = [
                {
                    "rel": "next",
                    "href": f"{self.address}/search",
                    "method": "POST",
                    "body": body,
                    "merge": True,
                }
            ]
        self._give(
            json.dumps({"type": "FeatureCollection", "features": page, "links": links}).encode(), "geo+json"
        )

    def _answer(self, *, with_body: bool) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/":
            links = [
                {"rel": rel, "href": self.address + path, "type": f"application/{kind}", **more}
                for rel, path, kind, more in (
                    ("self", "/", "json", {}), ("root", "/", "json", {}),
                    ("search", "/search", "geo+json", {"method": "GET"}),
                    ("search", "/search", "geo+json", {"method": "POST"}),
                )
            ]  # fmt: skip
            landing = {
                "type": "Catalog", "id": "api", "description": "Of a test", "stac_version": "1.0.0",
                "conformsTo": CONFORMS, "links": links,
            }  # fmt: skip
            self._give(json.dumps(landing).encode(), "json")
            return
        path = self.folder / parts.path.lstrip("/")
        if not path.is_file():
            self._give(b"", "json", 404)
            return
        self._give_asset(path, parse_qs(parts.query).get("sig", [""])[0], with_body=with_body)

    def _give_asset(self, path: Path, signature: str, *, with_body: bool) -> None:
        content, span = path.read_bytes(), self.headers.get("Range")
        first, _, last = (span or "bytes=0-").removeprefix("bytes=").partition("-")
        start, stop = int(first), min(len(content), int(last) + 1 if last else len(content))
        key, runs_out = self.folder / "key", self.folder / "runs-out"
        if start > len(content) // 2 and runs_out.exists():
            runs_out.unlink()
            key.write_text(key.read_text() + "x")
        if signature != key.read_text():
            with (self.folder / "refused").open("a") as refused:
                refused.write(f"{path.name}\n")
            self._give(b"", "json", 403)
            return
        self.send_response(200 if span is None else 206)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}-{path.name}"')
        if span is not None:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            self.wfile.write(content[start:stop])

    def _give(self, content: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"application/{kind}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def served_api(folder: Path) -> Iterator[str]:
    """Serve a folder, from a process of its own; gives the address."""
    with serving(__file__, folder) as address:
        yield address


if __name__ == "__main__":
    Api.folder = Path(sys.argv[1])
    serve(Api)
