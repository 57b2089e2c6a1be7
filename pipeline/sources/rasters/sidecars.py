"""Files beside a raster that GDAL reads with it: world files, .aux.xml, .msk, .ovr, .hdr, .prj."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

LISTING: Final = "GDAL_DISABLE_READDIR_ON_OPEN"
"""GDAL's option: whether the folder of a file is listed to find its sidecars."""
_REMOTE: Final = re.compile(
    r"(?:https?|ftp|s3|gs|az|adls?|oss|swift|hdfs|webhdfs)(?:\+\w+)?://"
    r"|/vsi(?:curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)(?:_streaming)?[/?]",
    re.IGNORECASE,
)
_INDEX_SUFFIXES: Final = (".vrt", ".gti", ".gpkg")
"""Files that name other rasters, which may be remote."""
_OF_GEOPACKAGE: Final = re.compile(r"https?://(?:www\.)?(?:geopackage\.org|gdal\.org|opengis\.net)")
"""Names that stand in every GeoPackage and are no rasters."""
_READ_OF_INDEX: Final = 16 * 2**20
"""Bytes of such a file that are looked through for remote names."""


def is_remote(uri: str) -> bool:
    """Return whether a name leads over a network, at its beginning or inside (zip+https, /vsizip//vsicurl/).

    >>> is_remote("scene.tif"), is_remote("/vsizip//vsicurl/https://host/a.zip/b.tif"), is_remote("s3://b/a.tif")
    (False, True, True)
    """
    # the pattern is slow, and a mosaic has thousands of local names
    return ("://" in uri or "/vsi" in uri.lower()) and _REMOTE.search(uri) is not None


def listing_setting(uri: str) -> Mapping[str, Any]:
    """Return the GDAL option that finds the sidecars of a raster as cheaply as its name allows.

    - local: the folder is listed, as GDAL does by itself. It is said all the same, because users set
      ``EMPTY_DIR`` in their environment for remote files, and then lose local sidecars without a word;
    - a local index of remote rasters (VRT, tile index): sidecars are asked for one by one, so that no bucket is
      listed for every raster in it;
    - remote: sidecars are not looked for. A listing of a bucket costs more than the read, and most servers
      have none to give.
    """
    if is_remote(uri):
        return {LISTING: "EMPTY_DIR"}
    return {LISTING: "TRUE" if _names_remote_rasters(uri) else "FALSE"}


def reads_remotely(uri: str) -> bool:
    """Return whether reading a source goes over a network: its own name leads there, or one that an index holds."""
    return is_remote(uri) or _names_remote_rasters(uri)


def _names_remote_rasters(uri: str) -> bool:
    path = Path(uri)
    if path.suffix.lower() not in _INDEX_SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as file:
        return is_remote(_OF_GEOPACKAGE.sub("", file.read(_READ_OF_INDEX).decode("latin-1")))


def sidecars_of(dataset: Any, uri: str) -> tuple[str, ...]:
    """Return the names of the files that GDAL reads beside the raster itself; of a VRT also those that it names."""
    own = Path(uri)
    return tuple(str(name) for name in dataset.files if Path(name) != own)
