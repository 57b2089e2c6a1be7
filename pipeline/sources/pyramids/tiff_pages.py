"""The chain of directories of a local TIFF: how many pages it has, what they are, and whether the file is whole.

GDAL and OpenSlide open a file whose end is missing with what they find of it, and GDAL shows the first page alone.
So the directories are walked before either is asked; no pixel is read.

::

    header --> directory 1 --> directory 2 --> ... --> 0
                  |   size, kind, where its strips or tiles lie
                  v
               pixels
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Final, Literal

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError

MAGIC: Final = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
"""First four bytes: byte order, and whether offsets have 8 bytes (BigTIFF)."""
TYPES: Final = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
"""Types of values that matter here."""
KIND, WIDTH, HEIGHT, DESCRIPTION, SOFTWARE = 254, 256, 257, 270, 305
TIE_POINTS: Final = 33922
"""Of GeoTIFF: where pixels lie in a coordinate system."""
EXTENTS: Final = ((273, 279), (324, 325))
"""Where strips and tiles lie, and how long they are."""
NOT_AN_IMAGE: Final = 1 | 4
"""Bits of a page that is a smaller version of another, or a mask."""
PAGES_AT_MOST: Final = 1_000_000
"""More directories than any real file has: a chain that runs in a circle."""


@dataclass(frozen=True, slots=True)
class TiffPage:
    """One directory."""

    shape: tuple[int, int]
    """Rows and columns."""
    is_image: bool
    """False for smaller versions and masks that say so."""


@dataclass(frozen=True, slots=True)
class TiffPages:
    """What the directories of a file say."""

    pages: tuple[TiffPage, ...]
    """In the order of the file."""
    description: str
    """Of the first page."""
    software: str
    """Of the first page."""
    has_tie_points: bool
    """Whether the first page says where its pixels lie, as GeoTIFF does."""

    @property
    def full_size(self) -> int:
        """Pages that are as large as the first, or larger, and do not say that they are something else."""
        first = self.pages[0].shape
        sizes = [page.shape for page in self.pages if page.is_image]
        return max(1, sum(rows * columns >= first[0] * first[1] for rows, columns in sizes))

    @property
    def imagej_planes(self) -> int:
        """Planes of which ImageJ says that they follow each other, with one directory for all; 0: not ImageJ's."""
        if not self.description.startswith("ImageJ="):
            return 0
        found = re.search(r"^images=(\d+)", self.description, re.MULTILINE)
        return int(found[1]) if found else 1


def tiff_pages(path: str) -> TiffPages:
    """Return what the directories of a TIFF say.

    Raises
    ------
    SourceError
        If the file ends before its directories or its pixels do.
    """
    status = Path(path).stat()
    return _tiff_pages(path, status.st_size, status.st_mtime_ns)


def is_tiff(path: str) -> bool:
    """Return whether a local file begins as a TIFF does."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(4) in MAGIC


@lru_cache(maxsize=64)
def _tiff_pages(path: str, size: int, _changed: int) -> TiffPages:
    with Path(path).open("rb") as file:
        walker = _Walker(path, file, size)
        first: dict[int, NDArray[np.generic]] = {}
        has_tie_points = walker.has_tag(walker.first, TIE_POINTS)
        pages: list[TiffPage] = []
        offset = walker.first
        while offset:
            if len(pages) >= PAGES_AT_MOST:
                msg = f"{path}: its chain of directories has no end; copy or export it again"
                raise SourceError(msg)
            tags, offset = walker.directory(offset)
            pages.append(_page(tags))
            first = first or tags
    if not pages:
        msg = f"{path}: is a TIFF without a page; copy or export it again"
        raise SourceError(msg)
    return TiffPages(tuple(pages), _text(first, DESCRIPTION), _text(first, SOFTWARE), has_tie_points)


class _Walker:
    """Reads directories of one open file."""

    def __init__(self, path: str, file: IO[bytes], size: int) -> None:
        self._path, self._file, self._size = path, file, size
        start = file.read(16)
        order, self._big = MAGIC[start[:4]]
        self._order: Literal["<", ">"] = "<" if order == "<" else ">"
        long = f"{self._order}{'Q' if self._big else 'I'}"
        self._layout = (f"{self._order}{'Q' if self._big else 'H'}", f"{self._order}HH{long[1]}", long)
        (self.first,) = struct.unpack_from(long, start.ljust(16, b"\0"), 8 if self._big else 4)
        self._seen: set[int] = set()

    def directory(self, offset: int) -> tuple[dict[int, NDArray[np.generic]], int]:
        """Return the tags of a directory that matter, and where the next one begins; 0 is the end."""
        if offset in self._seen:
            msg = f"{self._path}: its chain of directories runs in a circle; copy or export it again"
            raise SourceError(msg)
        self._seen.add(offset)
        _, entry_of, long = self._layout
        inline = struct.calcsize(long)
        step = struct.calcsize(entry_of) + inline
        count, content = self._entries(offset)
        tags = {}
        wanted = {KIND, WIDTH, HEIGHT, DESCRIPTION, SOFTWARE, *(tag for pair in EXTENTS for tag in pair)}
        for number in range(count):
            entry = content[number * step : (number + 1) * step]
            tag, kind, values = struct.unpack_from(entry_of, entry)
            if tag in wanted and kind in TYPES:
                dtype = np.dtype(TYPES[kind]).newbyteorder(self._order)
                length = values * dtype.itemsize
                stored_at = struct.unpack(long, entry[-inline:])[0]
                raw = entry[-inline:][:length] if length <= inline else self._bytes(stored_at, length)
                tags[tag] = np.frombuffer(raw, dtype)
        self._check_pixels(tags)
        return tags, int(struct.unpack(long, content[-inline:])[0])

    def has_tag(self, offset: int, wanted: int) -> bool:
        """Return whether a directory has a tag, whatever its type; 0 is no directory."""
        if not offset:
            return False
        _, entry_of, long = self._layout
        step = struct.calcsize(entry_of) + struct.calcsize(long)
        count, content = self._entries(offset)
        return any(
            struct.unpack_from(entry_of, content, number * step)[0] == wanted for number in range(count)
        )

    def _entries(self, offset: int) -> tuple[int, bytes]:
        """Return how many entries a directory has, and their bytes with those of the next offset."""
        count_of, entry_of, long = self._layout
        (count,) = struct.unpack(count_of, self._bytes(offset, struct.calcsize(count_of)))
        inline = struct.calcsize(long)
        step = struct.calcsize(entry_of) + inline
        return count, self._bytes(offset + struct.calcsize(count_of), count * step + inline)

    def _bytes(self, offset: int, length: int) -> bytes:
        if offset + length > self._size:
            msg = (
                f"{self._path}: ends early or is damaged: a directory of its pages reaches to byte "
                f"{offset + length:,}, and the file has {self._size:,}; copy it again"
            )
            raise SourceError(msg)
        self._file.seek(offset)
        return self._file.read(length)

    def _check_pixels(self, tags: dict[int, NDArray[np.generic]]) -> None:
        for offsets, counts in EXTENTS:
            if offsets not in tags or counts not in tags or tags[offsets].size != tags[counts].size:
                continue
            ends = tags[offsets].astype(np.uint64) + tags[counts].astype(np.uint64)
            # the counts of files beyond 4 GiB without BigTIFF are not to be trusted
            is_told = self._big or self._size < 2**32
            if ends.size and int(ends.max()) > self._size and is_told:
                msg = (
                    f"{self._path}: ends early or is damaged: its pixels reach to byte {int(ends.max()):,}, "
                    f"and the file has {self._size:,}; copy it again"
                )
                raise SourceError(msg)


def _page(tags: dict[int, NDArray[np.generic]]) -> TiffPage:
    rows, columns = (int(tags[tag][0]) if tag in tags and tags[tag].size else 0 for tag in (HEIGHT, WIDTH))
    kind = int(tags[KIND][0]) if KIND in tags and tags[KIND].size else 0
    return TiffPage((rows, columns), not kind & NOT_AN_IMAGE)


def _text(tags: dict[int, NDArray[np.generic]], tag: int) -> str:
    return tags[tag].tobytes().rstrip(b"\0").decode("utf-8", "replace") if tag in tags else ""
