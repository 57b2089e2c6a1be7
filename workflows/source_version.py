"""Which version of a source a map is made of: size and time of change of every file that it is read from.

Taken before the source is opened, and again when the map is computed and when all is written: a result that calls
itself complete is of one version.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pyogrio
import rasterio

from segment_tiles.pipeline.errors import RunFailedError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.names import is_url, shown_name
from segment_tiles.pipeline.sources.damage import GDAL_ERRORS
from segment_tiles.pipeline.sources.kinds import ZARR_FILES
from segment_tiles.pipeline.sources.patience import http_settings
from segment_tiles.pipeline.sources.rasters.sidecars import is_remote, listing_setting
from segment_tiles.pipeline.sources.volumes.dicom_folder import dicom_files
from segment_tiles.workflows.remote_version import remote_version

Version = list[int] | dict[str, Any] | None
SERVERS_AT_ONCE: Final = 16
_VIRTUAL: Final = re.compile(r"^(?:/vsi[a-z0-9]+/\{?|(?:zip|tar|gzip|file|GTI):(?://)?)", re.IGNORECASE)
"""Beginnings that GDAL and rasterio put before a local name: an archive, a tile index."""
_DATA_FILE: Final = re.compile(rb"^data ?file: *(.+?) *\r?$", re.MULTILINE)
"""Of an NRRD header, which names the file of its values."""


def source_version(uri: str) -> Version:
    """Return what tells whether a source is still the same; None if nothing does.

    - of one local file its bytes and the time of its last change in ns;
    - of several (a folder, sidecars, members of a VRT or of a mosaic, however deep) their number, bytes, latest
      change, and a checksum over name, size and time of each;
    - of a remote one what its server says: ETag, else Last-Modified, and size.
    """
    if is_remote(uri):
        return remote_version(uri)
    named = list(_members(uri))
    files = [name for name in named if isinstance(name, Path)]
    if not files:
        return None
    statuses = {str(file): _status(file) for file in files}
    if len(named) == 1:
        return statuses[str(files[0])]
    urls = [name for name in named if isinstance(name, str)]
    with ThreadPoolExecutor(SERVERS_AT_ONCE) as pool:
        told = dict(zip(map(shown_name, urls), pool.map(remote_version, urls), strict=True))
    there = [status for status in statuses.values() if status is not None]
    every = json_text({**statuses, **told}, sort_keys=True, indent=None)
    return {
        "files": len(named),
        "bytes": sum(size for size, _ in there),
        "changed": max((changed for _, changed in there), default=0),
        "sha256": sha256(every.encode()).hexdigest(),
    }


def require_same_version(uri: str, before: Version, *, or_gone: bool = False) -> None:
    """Refuse to go on with a source that is not what it was.

    Parameters
    ----------
    uri
        Of the source.
    before
        Its version then.
    or_gone
        At the end of a run, whose map needs its source no more, it may be gone.

    Raises
    ------
    RunFailedError
        With both versions in one line. What a server does not tell is not compared.
    """
    now = source_version(uri)
    if not (or_gone and now is None):
        require_equal(uri, before, now)


def require_equal(uri: str, before: Version, now: Version) -> None:
    """Refuse a source that has another version now.

    Raises
    ------
    RunFailedError
        As `require_same_version`.
    """
    if before == now or (is_remote(uri) and None in {_known(before), _known(now)}):
        return
    remedy = (
        "put it back as it was, and the same command goes on"
        if now is None
        else "give --restart to begin anew with what is there now"
    )
    msg = (
        f"{shown_name(uri)}: changed while it was read (it was {_said(before)}; it is {_said(now)}); nothing of two "
        f"versions is completed: {remedy}"
    )
    raise RunFailedError(msg)


def _known(version: Version) -> bool | None:
    return None if version is None else True


def _said(version: Version) -> str:
    if version is None:
        return "not there"
    if isinstance(version, list):
        size, changed = version
        return f"{size:,} bytes, of {changed / 1e9:.3f} s"
    if "sha256" in version:
        return f"{version['files']} files, {version['bytes']:,} bytes, the last of {version['changed'] / 1e9:.3f} s"
    return ", ".join(f"{name} {value}" for name, value in version.items())


def _status(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _members(uri: str) -> Iterator[Path | str]:
    """Yield each local file and each URL that is read when this source is, once."""
    seen: set[str] = set()
    waiting = [uri]
    while waiting:
        name = waiting.pop()
        if is_remote(name):
            if name not in seen:
                yield name
            seen.add(name)
            continue
        path = _local(name)
        if path is None or str(path) in seen:
            continue
        seen.add(str(path))
        if path.is_dir():
            yield from _files_of(path)
            continue
        yield path
        waiting += _named_by(name, path)


def _local(name: str) -> Path | None:
    """Return the file or folder that holds what a name means: an archive, the file of a subdataset."""
    bare = name.removeprefix("vrt://").partition("?")[0] if name.startswith("vrt://") else name
    while _VIRTUAL.match(bare):
        bare = _VIRTUAL.sub("", bare)
    for one in (bare, bare.partition("!")[0].partition("}")[0]):
        path = Path(one)
        for candidate in (path, *path.parents) if is_url(name) or one != name else (path,):
            if candidate.is_file() or (candidate == path and path.is_dir()):
                return candidate.absolute()
    inside = [Path(part.strip('"')) for part in re.findall(r'"[^"]*"|[^:]+', bare)]  # NETCDF:"a.nc":band
    return next((part.absolute() for part in inside if part.is_file()), None)


def _files_of(folder: Path) -> Iterator[Path]:
    """Yield all files of a Zarr or a format of several files; of a DICOM folder what is DICOM.

    Labels of an OME-Zarr image are left out: a run may write its own there.
    """
    if not any((folder / name).is_file() for name in ZARR_FILES) and (found := _dicom_files(folder)):
        yield from found
        return
    for root, folders, files in os.walk(folder):
        if Path(root) == folder:
            folders[:] = [name for name in folders if name != "labels"]
        yield from (Path(root, name) for name in files)


def _dicom_files(folder: Path) -> list[Path]:
    try:
        return dicom_files(folder)
    except OSError:
        return []  # what may not be read is said by whoever opens the source


def _named_by(name: str, path: Path) -> list[str]:
    """Return what a file names besides itself: sidecars, rasters of a VRT, scenes of an index, values of a header."""
    if path.suffix.lower() == ".nhdr":
        return [
            str(path.parent / os.fsdecode(found)) for found in _DATA_FILE.findall(path.read_bytes()[:100_000])
        ]
    if path.suffix.lower() == ".mrxs":
        return [str(path.with_suffix(""))]
    scenes = _scenes_of(path) if ".gti." in path.name.lower() else []
    try:
        with rasterio.Env(**http_settings(), **listing_setting(name)), rasterio.open(name) as dataset:
            return [*scenes, *dataset.files]
    except GDAL_ERRORS:
        return scenes  # a slide or a volume, which have readers of their own


def _scenes_of(index: Path) -> list[str]:
    try:
        frame = pyogrio.read_dataframe(index, columns=["location"], read_geometry=False)
    except pyogrio.errors.DataSourceError:
        return []
    return [str(name) for name in frame.get("location", ())]
