"""Files whose end is missing, of which GDAL reads zeros or garbage without a word: PNG, ENVI, PCIDSK.

Of 24 formats that GDAL writes these alone read so; of TIFF the directories tell (``tiff_pages``), and the others fail
when they are read.
"""

from __future__ import annotations

import re
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import BinaryIO, Final

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.sources.rasters.members import is_index, local_members

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PCIDSK: Final = b"PCIDSK  "
_PCIDSK_UNIT: Final = 512
"""Bytes of what PCIDSK counts."""
_ENVI_FIELD: Final = re.compile(r"^\s*([a-z][a-z ]*?)\s*=\s*(\d+)\s*$", re.MULTILINE | re.IGNORECASE)
_ENVI_BYTES: Final = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 9: 16, 12: 2, 13: 4, 14: 8, 15: 8}
"""Data type -> bytes of a value."""
_ENVI_HEADER_AT_MOST: Final = 2**20


def refuse_cut_files(uri: str) -> None:
    """Refuse a local raster that ends before its pixels do; of a VRT or a mosaic, one with such a member.

    Raises
    ------
    SourceError
        With the file, where it ends, and where it should.
    """
    path = Path(uri)
    if not path.is_file():
        return
    if is_index(path):
        status = path.stat()
        _refuse_cut_members(uri, status.st_size, status.st_mtime_ns)
        return
    _refuse_cut(path)


@lru_cache(maxsize=64)
def _refuse_cut_members(uri: str, _size: int, _changed: int) -> None:
    """Look at the members once; that one changes later is seen by whoever compares versions."""
    members = local_members(Path(uri))
    # GDAL names the members of a VRT in a VRT itself; a scene of a mosaic may be a VRT
    of_scenes = [file for member in members if is_index(member) for file in local_members(member)]
    for member in dict.fromkeys([*members, *of_scenes]):
        _refuse_cut(member)


def _refuse_cut(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(32)
        if start.startswith(_PNG):
            wanted = _end_of_png(file, size)
        elif start.startswith(_PCIDSK):
            units = start[16:32].strip()
            wanted = int(units) * _PCIDSK_UNIT if units.isdigit() else 0
        else:
            wanted = _end_of_envi(path)
    if wanted > size:
        msg = (
            f"{path}: ends early or is damaged: it reaches to byte {wanted:,} at least, and the file has {size:,}; "
            "copy it again"
        )
        raise SourceError(msg)


def _end_of_png(file: BinaryIO, size: int) -> int:
    """Return the end of the chunk IEND, or of the first chunk that the file does not hold."""
    at = len(_PNG)
    while at < size:
        file.seek(at)
        head = file.read(8)
        at += 12 + int.from_bytes(head[:4].ljust(4, b"\0"), "big")  # length and name before, checksum after
        if head[4:] == b"IEND":
            return at
    return at + 12 if at == size else at


def _end_of_envi(path: Path) -> int:
    """Return where the values of an ENVI file end; 0 if it is none, or is compressed."""
    for header in (path.with_suffix(".hdr"), path.with_name(f"{path.name}.hdr")):
        if header != path and header.is_file():
            with header.open("rb") as file:
                text = file.read(_ENVI_HEADER_AT_MOST).decode("latin-1")
            if text.startswith("ENVI"):
                fields = {name.lower(): int(value) for name, value in _ENVI_FIELD.findall(text)}
                return _bytes_of_envi(fields)
    return 0


def _bytes_of_envi(fields: dict[str, int]) -> int:
    if fields.get("file compression", 0):
        return 0
    size = _ENVI_BYTES.get(fields.get("data type", 0), 0)
    return fields.get("header offset", 0) + size * prod(
        fields.get(name, 0) for name in ("samples", "lines", "bands")
    )
