"""Ranges of a remote file, held to one version: what GDAL keeps of another is forgotten, and no other is taken."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import rasterio
from rasterio.env import getenv, hasenv

from segment_tiles.pipeline.names import is_stack, shown_name
from segment_tiles.pipeline.sources.damage import GDAL_ERRORS
from segment_tiles.pipeline.sources.http_request import validator_of
from segment_tiles.pipeline.sources.kinds import kind_of
from segment_tiles.pipeline.sources.patience import NOT_KEPT, http_settings
from segment_tiles.pipeline.sources.rasters.held_file import HeldFile, held_to_one_version, start_for_ranges
from segment_tiles.pipeline.sources.rasters.sidecars import is_remote, listing_setting
from segment_tiles.pipeline.sources.stacks.description import files_of
from segment_tiles.pipeline.sources.stacks.signing import address_of
from segment_tiles.pipeline.sources.versions.server import Condition, condition_known, gives_range

SMALL: Final = 4 * 2**20
"""Bytes of a file that is read in one answer if its server refuses no other version."""
TINY: Final = 320 * 2**10
"""Bytes of one that is in any case: it costs no more than GDAL's first ranges."""

MEMBERS: Final = "members"
"""Of the version of a stack: name of each file without secrets -> its version."""
_HTTP: Final = re.compile(r"(?:/vsicurl/)?(?P<url>https?://[^\"']+)")
_HEADERS: Final = "GDAL_HTTP_HEADERS"
_read_here: dict[str, Any] = {}
"""Versions of remote sources that this process has read, by name: GDAL keeps their ranges as long as it lives."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What keeps other versions of a source away; plain data, travels to workers."""

    settings: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a user's own headers
    """Of GDAL, under which no range of another version is read, if the server can tell."""
    file: HeldFile | None = None
    """The version that is opened."""
    members: Mapping[str, Guard] = field(default_factory=dict, repr=False)
    """Of a stack: file -> its own."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the source is read in this version alone, by whoever opens it."""
        environment = rasterio.Env(**self.settings) if self.settings else nullcontext()
        with environment, self.held():
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, the source is opened in this version; that ranges are of it, ``settings`` must see to."""
        files = (self.file, *(member.file for member in self.members.values()))
        settings = {name: member.settings for name, member in self.members.items() if member.settings}
        with held_to_one_version(*files, settings=settings):
            yield


UNGUARDED: Final = Guard()
"""Of sources whose servers cannot tell, and of local ones."""


def guard_of(uri: str, version: Mapping[str, Any]) -> Guard:
    """Return what keeps other versions of a remote source away, as far as its server allows.

    With ``If-Match`` a server that has another version refuses, with ``If-Range`` it gives the whole file in place of
    the range, which GDAL refuses of any range but the first: `HeldFile`. Only of one plain URL that has a strong ETag,
    or a date alone, and whose server gave a range under it: GDAL sends the header with every request, also with those
    for other files. A small file is read in one answer, the smaller the more a server can tell.
    """
    if is_stack(uri):
        of_members = version.get(MEMBERS, {})
        guards = {
            file: _guard_of_member(uri, file, told)
            for file in files_of(uri)
            if isinstance(told := of_members.get(shown_name(file)), dict)
        }
        return Guard(members=guards)
    found, validator = _HTTP.fullmatch(uri), validator_of(version)
    if found is None or validator is None or not gives_range(found["url"], validator):
        return UNGUARDED
    quoted = validator.value.replace('"', r"\"")
    headers = [f'"{name}: {quoted}"' for name in validator.names]
    own = getenv().get(_HEADERS) if hasenv() else None
    settings = {_HEADERS: ",".join(filter(None, [own or os.environ.get(_HEADERS), *headers]))}
    size = int(version.get("bytes", 0))
    start = _start(condition_known(found["url"], validator), size)
    return Guard(settings, HeldFile(uri, found["url"], validator, size, start))


def _guard_of_member(stack: str, file: str, version: Mapping[str, Any]) -> Guard:
    """Return the guard of a file of a stack; a signature may run out, so that no part of a signed one is kept."""
    address = address_of(stack, file)
    guard = guard_of(address, version)
    return guard if address == file else replace(guard, file=None)


def _start(knows: Condition, size: int) -> int:
    """Return how much of a file is read in one answer."""
    if size <= (TINY if knows == "If-Match" else SMALL):
        return size
    return min(size, start_for_ranges()) if knows == "If-Range" else 0


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
    if is_stack(uri):
        told = version.get(MEMBERS, {}) if isinstance(version, dict) else {}
        for file in files_of(uri):
            begin_reading(file, told.get(shown_name(file)), anew=anew)
        return
    if not is_remote(uri) or kind_of(uri) != "raster":
        return
    if uri in _read_here and (anew or _read_here[uri] != version):
        # whoever opens the source after this says what is wrong
        with rasterio.Env(**http_settings(), **listing_setting(uri), **NOT_KEPT), suppress(*GDAL_ERRORS):
            rasterio.open(uri).close()
    _read_here[uri] = version
