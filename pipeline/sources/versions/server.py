"""What a server says of the version of a remote source: ETag or time of change, and size.

Without it a run would go on with a file that was replaced under the same name.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.error import HTTPError
from urllib.request import urlopen

from segment_tiles.pipeline.sources.buckets.version import object_version
from segment_tiles.pipeline.sources.http_request import NO_ANSWER, SECONDS, Validator, request_of

BUSY: Final = frozenset({429, 500, 502, 503, 504})
"""Answers of a server that may give another one in a moment."""
WAITS: Final = (0.5, 1.0)
"""Seconds before it is asked again."""
_HTTP: Final = re.compile(r"(?:^|/vsicurl/|[a-z]\+)(?P<url>https?://[^\"']+)$")
_ARCHIVE: Final = re.compile(r"(?:/vsi(?:zip|tar)/|^(?:zip|tar)\+)", re.IGNORECASE)
"""How the name of a file in an archive begins; what is asked for is the archive."""
_IN_ARCHIVE: Final = re.compile(r"(?<=\.)(zip|tar|tgz|tar\.gz)(?:[!}/].*|$)", re.IGNORECASE)
_WRAPPED: Final = re.compile(r"^vrt://(?P<name>[^?]+)")
"""GDAL's way to change a raster by its name, behind which options follow."""
_ZARR: Final = re.compile(r"\.zarr/?$", re.IGNORECASE)
ZARR_FILES: Final = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
"""A folder has no version; what stands in one of these has."""


def remote_version(uri: str) -> dict[str, Any] | None:
    """Return ETag (else Last-Modified) and size of a remote source; None if nothing is told, or it is local.

    Of ``https`` names and of ``/vsicurl/``, by a request of its own; of objects in buckets, if the extra
    ``object-store`` is installed. Of a file in an archive that of the archive counts, of a Zarr that of its metadata:
    other chunks under the same metadata are not noticed. A server that does not answer in time has told nothing:
    whoever reads the source says what is wrong.
    """
    return answer_of(uri) or None


def answer_of(uri: str) -> dict[str, Any] | None:
    """Return what `remote_version` does, but an empty dictionary if a server answers and tells nothing."""
    name = wrapped["name"] if (wrapped := _WRAPPED.match(uri)) else uri
    if found := _HTTP.search(name):
        url = _IN_ARCHIVE.sub(r"\1", found["url"]) if _ARCHIVE.search(name) else found["url"]
        return _of_zarr(url, _of_http) if _ZARR.search(url) else _of_http(url)
    return _of_zarr(name, object_version) if _ZARR.search(name) else object_version(name)


def _of_zarr(name: str, told_of: Callable[[str], dict[str, Any] | None]) -> dict[str, Any] | None:
    for file in ZARR_FILES:
        if told := told_of(f"{name.rstrip('/')}/{file}"):
            return {"file": file, **told}
    return None


Condition = Literal["If-Match", "If-Range", "none"]
_REFUSED_BY: Final[Mapping[Condition, int]] = {
    "If-Match": HTTPStatus.PRECONDITION_FAILED,
    "If-Range": HTTPStatus.OK,
}
_NAMES_OTHERS: Final = (b"<", b"{", b"SQLite format 3")
"""How files begin that may name other files: VRT and other XML, JSON, tile indices."""
_BEGINNING: Final = 16
"""Bytes that are looked at for it."""


def gives_range(url: str, validator: Validator) -> bool:
    """Return whether a server gives a range of one version, and of no other.

    One that gives a whole file of another version in place of the range compares them too: two machines behind one
    name, of which this was the other one. Of a file that names others it is False: GDAL would ask for those under the
    conditions of this one.
    """
    answer = _answer(url, "GET", {"Range": f"bytes=0-{_BEGINNING - 1}", **validator.conditions()})
    if answer is None:
        return False
    if answer.status == HTTPStatus.PRECONDITION_FAILED:
        return True
    is_of_another = answer.fields.get(validator.header.lower()) not in {None, validator.value}
    begins = answer.beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    return (answer.status == HTTPStatus.PARTIAL_CONTENT) != is_of_another and not begins.startswith(
        _NAMES_OTHERS
    )


def condition_known(url: str, validator: Validator) -> Condition:
    """Return which condition a server that gives ranges heeds, asked for a range of a version that never was."""
    for name in validator.names:
        answer = _answer(url, "GET", {"Range": "bytes=0-0", name: validator.of_no_version})
        if answer is not None and answer.status == _REFUSED_BY[name]:
            return name
    return "none"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    fields: Mapping[str, str]
    """Of the header, by names in small letters."""
    beginning: bytes = b""


def _answer(url: str, method: str, headers: Mapping[str, str]) -> _Answer | None:
    """Return what a server answers, asked again if it is busy; None if nothing comes."""
    for wait in (*WAITS, None):
        try:
            with urlopen(request_of(url, method, headers), timeout=SECONDS) as answer:
                fields = {name.lower(): value for name, value in answer.headers.items()}
                return _Answer(answer.status, fields, answer.read(_BEGINNING))
        except HTTPError as error:
            error.close()
            if error.code not in BUSY or wait is None:
                return _Answer(error.code, {})
            time.sleep(wait)
        except NO_ANSWER:
            return None
    return None


def _of_http(url: str) -> dict[str, Any] | None:
    # a signed URL is often signed for GET alone: then one byte is asked for
    for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
        answer = _answer(url, method, headers)
        if answer is None:
            return None
        if answer.status < HTTPStatus.BAD_REQUEST:
            return _described(answer.fields)
    return None


def _described(fields: Mapping[str, str]) -> dict[str, Any]:
    # of one byte that was asked for, the size of the whole stands behind the slash
    length = fields.get("content-range", "").rpartition("/")[2] or fields.get("content-length", "")
    found: dict[str, Any] = {}
    if "etag" in fields:
        found["etag"] = fields["etag"]
    elif "last-modified" in fields:
        found["last modified"] = fields["last-modified"]
    if length.isdigit():
        found["bytes"] = int(length)
    return found
