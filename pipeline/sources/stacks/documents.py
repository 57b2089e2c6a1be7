"""JSON and YAML that say what a stack is made of: read from a path, or from a server, with patience."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import urlopen

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.names import is_url, shown_name
from segment_tiles.pipeline.sources.damage import said
from segment_tiles.pipeline.sources.http_request import NO_ANSWER, SECONDS, request_of
from segment_tiles.pipeline.sources.patience import REMOTE_ATTEMPTS, GaveUpError, Patience

BUSY: Final = frozenset({429, 500, 502, 503, 504})
"""Answers of a server that may give another one in a moment."""
_ADDRESS: Final = re.compile(r"(?P<before>.*?)(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]+)://(?P<rest>.*)")
"""A URL, perhaps behind the name of a virtual file system, as /vsicurl/https://host/a.json."""
LARGEST: Final = 64 * 2**20
"""Bytes of such a document, at most."""


def text_of(name: str) -> str:
    """Return the text of a document.

    Raises
    ------
    SourceError
        If it cannot be read, is too large, or is no text.
    """
    if is_url(name) and not name.startswith(("http://", "https://", "file://")):
        msg = f"{shown_name(name)}: documents are read from paths and https:// addresses; copy it to one of them"
        raise SourceError(msg)
    try:
        content = _of_server(name) if name.startswith(("http://", "https://")) else _of_file(name)
    except GaveUpError as error:
        msg = f"{shown_name(name)}: cannot be read, {error.summary}; check the address, and that the server answers"
        raise SourceError(msg) from error
    except OSError as error:
        msg = (
            f"{shown_name(name)}: cannot be read ({said(error) if is_url(name) else error.strerror or error})"
        )
        raise SourceError(msg) from error
    if len(content) > LARGEST:
        msg = f"{shown_name(name)}: has more than {LARGEST:,} bytes; it is no description of a scene"
        raise SourceError(msg)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"{shown_name(name)}: is not text in UTF-8 ({said(error)})"
        raise SourceError(msg) from error


def _of_file(name: str) -> bytes:
    with Path(name.removeprefix("file://")).open("rb") as file:
        return file.read(LARGEST + 1)


def _of_server(name: str) -> bytes:
    def once() -> bytes | HTTPError:
        try:
            with urlopen(request_of(name, "GET", {}), timeout=SECONDS) as answer:
                return bytes(answer.read(LARGEST + 1))
        except HTTPError as error:
            error.close()
            if error.code in BUSY:
                raise
            return error  # the same answer would come again

    found = Patience(REMOTE_ATTEMPTS, NO_ANSWER).read(once)
    if isinstance(found, HTTPError):
        raise found
    return found


def beside(document: str, href: str) -> str:
    """Return the absolute path or URL of what a document names.

    >>> beside("/data/item.json", "./B04.tif"), beside("https://host/a/item.json", "../b.tif")
    ('/data/B04.tif', 'https://host/b.tif')
    """
    if is_url(href):
        return href.removeprefix("file://")
    address = _ADDRESS.match(document)
    if address is not None:
        # urljoin leaves an address as it is if it does not know the scheme, as s3
        joined = urljoin(f"https://{address['rest']}", href)
        if not joined.startswith("https://"):
            return joined  # another kind of name, as NETCDF:a.nc:x
        return f"{address['before']}{address['scheme']}{joined.removeprefix('https')}".removeprefix("file://")
    return str((Path(document).absolute().parent / Path(href).expanduser()).absolute()).replace("/./", "/")
