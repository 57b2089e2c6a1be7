"""Ranges of a remote file, held to one version: what GDAL keeps of another is forgotten, and no other is taken."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import rasterio
from rasterio.env import getenv, hasenv

from segment_tiles.pipeline.sources.damage import GDAL_ERRORS
from segment_tiles.pipeline.sources.kinds import kind_of
from segment_tiles.pipeline.sources.patience import NOT_KEPT, http_settings
from segment_tiles.pipeline.sources.rasters.sidecars import is_remote, listing_setting
from segment_tiles.pipeline.sources.versions.server import CONDITIONS, gives_range

_HTTP: Final = re.compile(r"(?:/vsicurl/)?(?P<url>https?://[^\"']+)")
_STRONG: Final = re.compile(r'"[\x21\x23-\x5b\x5d-\x7e]+"')
"""An ETag that stands for the very bytes, of characters that GDAL's list of headers can hold."""
_HEADERS: Final = "GDAL_HTTP_HEADERS"
_read_here: dict[str, Any] = {}
"""Versions of remote sources that this process has read, by name: GDAL keeps their ranges as long as it lives."""


def one_version_setting(uri: str, version: Mapping[str, Any]) -> dict[str, str]:
    """Return the GDAL setting under which a server answers ranges of one version alone, if it can.

    With ``If-Match`` a server that has another version refuses, with ``If-Range`` it gives the whole file in place of
    the range. Only of one plain URL, whose ETag is strong, and whose server gave a range under it: GDAL sends the
    header with every request, also with those for other files.
    """
    found, etag = _HTTP.fullmatch(uri), str(version.get("etag", ""))
    if found is None or not _STRONG.fullmatch(etag) or not gives_range(found["url"], etag):
        return {}
    quoted = etag.replace('"', r"\"")
    headers = [f'"{name}: {quoted}"' for name in CONDITIONS]
    own = getenv().get(_HEADERS) if hasenv() else None
    return {_HEADERS: ",".join(filter(None, [own or os.environ.get(_HEADERS), *headers]))}


def begin_reading(uri: str, version: Any, *, anew: bool = False) -> None:
    """Let GDAL forget what it keeps of a remote file, if this process has read another version of it.

    Parameters
    ----------
    uri
        Of the source.
    version
        What its server says now.
    anew
        Also if the version is the same: another run may have failed because ranges were of two.
    """
    if not is_remote(uri) or kind_of(uri) != "raster":
        return
    if uri in _read_here and (anew or _read_here[uri] != version):
        # whoever opens the source after this says what is wrong
        with rasterio.Env(**http_settings(), **listing_setting(uri), **NOT_KEPT), suppress(*GDAL_ERRORS):
            rasterio.open(uri).close()
    _read_here[uri] = version
