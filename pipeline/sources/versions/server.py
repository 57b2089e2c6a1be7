"""What a server says of the version of a remote source: ETag or time of change, and size.

Without it a run would go on with a file that was replaced under the same name.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from importlib.util import find_spec
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

SECONDS: Final = 10.0
"""How long a server may take to answer."""
BUSY: Final = frozenset({429, 500, 502, 503, 504})
"""Answers of a server that may give another one in a moment."""
WAITS: Final = (0.5, 1.0)
"""Seconds before it is asked again."""
_HTTP: Final = re.compile(r"(?:^|/vsicurl/|[a-z]\+)(?P<url>https?://[^\"']+)$")
_S3: Final = re.compile(r"^(?:s3://|/vsis3/)(?P<key>[^?#]+)")


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

    Of ``https`` names and of ``/vsicurl/``, by a request of its own; of ``s3`` names through s3fs, if it is
    installed. Of a file in an archive that of the archive counts, of a Zarr that of its metadata: other chunks under
    the same metadata are not noticed. A server that does not answer in time has told nothing: whoever reads the source
    says what is wrong.
    """
    return answer_of(uri) or None


def answer_of(uri: str) -> dict[str, Any] | None:
    """Return what `remote_version` does, but an empty dictionary if a server answers and tells nothing."""
    name = wrapped["name"] if (wrapped := _WRAPPED.match(uri)) else uri
    if found := _HTTP.search(name):
        url = _IN_ARCHIVE.sub(r"\1", found["url"]) if _ARCHIVE.search(name) else found["url"]
        return _of_zarr(url) if _ZARR.search(url) else _of_http(url)
    if found := _S3.match(name):
        return _of_s3(found["key"].rstrip("/"))
    return None


def _of_zarr(url: str) -> dict[str, Any] | None:
    for name in ZARR_FILES:
        if told := _of_http(f"{url.rstrip('/')}/{name}"):
            return {"file": name, **told}
    return None


CONDITIONS: Final = ("If-Match", "If-Range")
"""Headers that hold a request to one version: a server that knows the first refuses another version, one that knows
the second alone gives it whole in place of a range. That GDAL refuses; from 3.12 on it takes files of up to ten times
what it asked for, so 320 kB."""


def gives_range(url: str, etag: str) -> bool:
    """Return whether a server gives a range of the version with this ETag, and of no other.

    One that gives a whole file of another version in place of the range compares them too: two machines behind one
    name, of which this was the other one.
    """
    request = _request(url, "GET", {"Range": "bytes=0-0", **dict.fromkeys(CONDITIONS, etag)})
    try:
        with urlopen(request, timeout=SECONDS) as answer:
            is_of_another = answer.headers.get("ETag") not in {None, etag}
            return bool(answer.status == HTTPStatus.PARTIAL_CONTENT) != is_of_another
    except HTTPError as error:
        error.close()
        return error.code == HTTPStatus.PRECONDITION_FAILED
    except (OSError, HTTPException, ValueError):
        return False


def _of_http(url: str) -> dict[str, Any] | None:
    # a signed URL is often signed for GET alone: then one byte is asked for
    for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
        for wait in (*WAITS, None):
            try:
                with urlopen(_request(url, method, headers), timeout=SECONDS) as answer:
                    return _described(dict(answer.headers.items()))
            except HTTPError as error:
                error.close()
                if error.code not in BUSY or wait is None:
                    break
                time.sleep(wait)
            except (OSError, HTTPException, ValueError):
                return None
    return None


def _request(url: str, method: str, headers: Mapping[str, str]) -> Request:
    """Return a request; user and password of the URL go into a header, as libcurl sends them."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    request = Request(urlunsplit(parts._replace(netloc=host)), method=method, headers=dict(headers))
    request.add_header("Accept-Encoding", "identity")
    if at:
        request.add_unredirected_header(
            "Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}"
        )
    return request


def _described(headers: Mapping[str, str]) -> dict[str, Any]:
    fields = {name.lower(): value for name, value in headers.items()}
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


def _of_s3(key: str) -> dict[str, Any] | None:
    if find_spec("s3fs") is None:
        return None
    import s3fs  # noqa: PLC0415 - an extra
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - s3fs brings it

    try:
        told = s3fs.S3FileSystem().info(key)
    except (OSError, ValueError, BotoCoreError, ClientError):
        return None
    changed = {"etag": told.get("ETag"), "bytes": told.get("size") or None}
    return {name: value for name, value in changed.items() if value is not None} or None
