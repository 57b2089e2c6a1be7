"""A remote file held to one version: its start is fetched in one answer that is checked, and kept in memory.

::

    file     |-- start, checked --|---------------- rest ----------------|
    read     from /vsimem/         by GDAL, in ranges under If-Range
             |------------- as one file, through /vsisparse/ ------------|

A server that knows ``If-Range`` and has another version gives the whole file, status 200, in place of a range. GDAL
refuses that, but not of a range that begins at byte 0: there it takes the file as it comes if it is up to ten times as
long as the range, or of no told length (VSICurlHandleWriteFunc in port/cpl_vsil_curl.cpp). So GDAL never asks for byte
0. A small file is all start, and whatever the server knows, one answer is of one version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen
from weakref import WeakValueDictionary
from xml.sax.saxutils import escape

from rasterio.env import get_gdal_config
from rasterio.io import MemoryFile

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.sources import patience
from segment_tiles.pipeline.sources.http_request import NO_ANSWER, SECONDS, Validator, request_of

CACHED_AT_ONCE: Final = 2**15
"""Bytes of a block of GDAL's VSI_CACHE: a request begins at its edge."""
CHUNK: Final = 2**14
"""Bytes of a chunk of GDAL's, at whose edge a request begins, unless the user asks for another."""
CHUNK_AT_MOST: Final = 10 * 2**20
"""GDAL takes no larger one."""
QUICKLY: Final = 3
"""Requests, one right after the other, before there is a wait: the next one may go to another machine."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class HeldFile:
    """Which version of a remote file is read; plain data, travels to workers."""

    uri: str = field(repr=False)  # may hold secrets
    """Of the source, as the user gave it."""
    url: str = field(repr=False)
    """What is asked for."""
    validator: Validator
    """Of the version."""
    size: int
    """Bytes of the file."""
    start: int = 0
    """Bytes of it that are fetched in one answer and kept in memory; 0 if GDAL may read all."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Start:
    """The start of a file: one answer of its server, for all handles of this process as long as one lives."""

    content: bytes = field(repr=False)


_starts: Final[WeakValueDictionary[HeldFile, _Start]] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class _Holding:
    files: tuple[HeldFile, ...]
    settings: Mapping[str, Mapping[str, str]] = field(repr=False)
    kept: list[_Start] = field(default_factory=list)
    """So that it is not asked for again while this lasts, though each handle is closed before the next is opened."""


_held: ContextVar[_Holding | None] = ContextVar("held_file", default=None)


@contextmanager
def held_to_one_version(
    *files: HeldFile | None, settings: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[None]:
    """Inside, rasters of these names are opened in these versions alone; None changes nothing.

    Parameters
    ----------
    files
        Their versions.
    settings
        Name of a raster -> options of GDAL under which it alone is read.
    """
    held = tuple(file for file in files if file is not None)
    if not held and not settings:
        yield
        return
    token = _held.set(_Holding(held, settings or {}))
    try:
        yield
    finally:
        _held.reset(token)


def held_file(uri: str) -> HeldFile | None:
    """Return to which version a source is held here, if it is."""
    holding = _held.get()
    return None if holding is None else next((file for file in holding.files if file.uri == uri), None)


def held_settings(uri: str) -> Mapping[str, str]:
    """Return the options of GDAL under which a source is read here, so that it stays in its version."""
    holding = _held.get()
    return {} if holding is None else holding.settings.get(uri, {})


def start_for_ranges() -> int:
    """Return how many bytes a start has at least, so that no request of GDAL for the rest begins at byte 0."""
    asked = str(get_gdal_config("CPL_VSIL_CURL_CHUNK_SIZE") or CHUNK)
    chunk = min(max(int(asked), CHUNK), CHUNK_AT_MOST) if asked.isdecimal() else CHUNK_AT_MOST
    return chunk + CACHED_AT_ONCE


class GdalName:
    """The name under which GDAL opens a source, and what is in memory for it.

    Parameters
    ----------
    uri
        Of the source.

    Raises
    ------
    SourceError
        If the source is held to a version that its server does not give.
    """

    def __init__(self, uri: str) -> None:
        self._files: list[MemoryFile] = []
        self._start: _Start | None = None
        self.name = uri
        """What GDAL is given."""
        held = held_file(uri)
        self.may_be_refused = held is not None and held.start < held.size
        """Whether opening may meet a machine that has another version."""
        if held is not None and held.start:
            self._start = _start_of(held)
            self.name = self._in_memory(self._start.content, held)
            if held.start < held.size:
                document = _joined(self.name, held)
                self.name = f"/vsisparse/{self._in_memory(document.encode(), held)}"

    def _in_memory(self, content: bytes, held: HeldFile) -> str:
        # GDAL's drivers look at the end of a name, and its messages quote it
        name = PurePosixPath(unquote(urlsplit(held.url).path)).name.replace("\\", "_") or "file"
        self._files.append(MemoryFile(content, filename=name))
        return str(self._files[-1].name)

    def open_first(self, opened: Callable[[Mapping[str, Any]], Result]) -> Result:
        """Return what opening gives; tried again if it may have met a machine that has another version.

        Parameters
        ----------
        opened
            Opens under settings of GDAL; raises `SourceError` if it cannot.
        """
        settings: Mapping[str, Any] = {}

        def attempt() -> Result:
            nonlocal settings
            now, settings = settings, patience.NOT_KEPT
            return opened(now)

        attempts = patience.REMOTE_ATTEMPTS if self.may_be_refused else 1
        try:
            return patience.Patience(attempts, (SourceError,)).read(attempt)
        except patience.GaveUpError as error:
            self.close()
            raise error.last from error.last.__cause__
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the memory back; no dataset is open any more."""
        for file in self._files:
            file.close()
        self._files.clear()
        self._start = None


def _joined(start: str, held: HeldFile) -> str:
    """Return what GDAL's /vsisparse/ reads: a file made of parts of others."""
    parts = ((start, 0, held.start), (f"/vsicurl/{held.url}", held.start, held.size - held.start))
    regions = "".join(
        f'<SubfileRegion><Filename relative="0">{escape(name)}</Filename>'
        f"<DestinationOffset>{first}</DestinationOffset><SourceOffset>{first}</SourceOffset>"
        f"<RegionLength>{length}</RegionLength></SubfileRegion>"
        for name, first, length in parts
    )
    return f"<VSISparseFile><Length>{held.size}</Length>{regions}</VSISparseFile>"


class _OtherAnswerError(OSError):
    """An answer that is not the start of this version."""


def _start_of(held: HeldFile) -> _Start:
    start = _starts.get(held) or _fetched(held)
    _starts[held] = start
    holding = _held.get()
    if holding is not None and start not in holding.kept:
        holding.kept.append(start)
    return start


def _fetched(held: HeldFile) -> _Start:
    tries = patience.Patience(patience.REMOTE_ATTEMPTS, NO_ANSWER)
    try:
        return _Start(tries.read(lambda: _asked_quickly(held)))
    except patience.GaveUpError as error:
        version = f"{held.validator.header} {held.validator.value}"
        msg = (
            f"{held.uri}: its server does not give the version that it told, {version}, {error.summary}; check the "
            "connection and whether the file is being replaced, then start the same command again"
        )
        raise SourceError(msg) from error


def _asked_quickly(held: HeldFile) -> bytes:
    for _ in range(QUICKLY - 1):
        try:
            return _one_answer(held)
        except _OtherAnswerError:
            pass  # the last request says what it met
    return _one_answer(held)


def _one_answer(held: HeldFile) -> bytes:
    """Return the start of a file from one answer.

    Raises
    ------
    _OtherAnswerError
        If it is of another version, or no such range.
    """
    is_whole = held.start == held.size
    headers: Mapping[str, str] = {} if is_whole else {"Range": f"bytes=0-{held.start - 1}"}
    with urlopen(request_of(held.url, "GET", headers), timeout=SECONDS) as answer:
        given = answer.headers.get(held.validator.header)
        if given != held.validator.value:
            msg = f"it gave {held.validator.header} {given}"
            raise _OtherAnswerError(msg)
        if answer.status != (HTTPStatus.OK if is_whole else HTTPStatus.PARTIAL_CONTENT):
            msg = f"it answered with status {answer.status}"
            raise _OtherAnswerError(msg)
        content = bytes(answer.read(held.start + 1))
    if len(content) != held.start or not answer.headers.get("Content-Range", "bytes 0-").startswith(
        "bytes 0-"
    ):
        msg = f"it gave {len(content)} bytes where the first {held.start} were asked for"
        raise _OtherAnswerError(msg)
    return content
