"""Texts of options that are read in a way of their own: sizes, lists, boxes."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Final

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.places.address import unflattened

UNITS: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
                "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip

LARGEST_COUNT: Final = 2**31 - 1
"""Of tiles in a batch, and of bands: GDAL and torch count in a C int."""
LARGEST_MEMORY: Final = 2**63
"""Bytes that no machine can name."""


def is_count(text: str) -> bool:
    """Return whether text is a whole number above 0, as large as a C int at most.

    >>> is_count("3"), is_count("0"), is_count("2147483648"), is_count("\u00b2")
    (True, False, False, False)
    """
    return text.isdecimal() and len(text) <= len(str(LARGEST_COUNT)) and 1 <= int(text) <= LARGEST_COUNT


def parse_memory(text: str) -> int:
    """Return bytes of a size such as 4GB, 512MiB or 2000000000.

    Raises
    ------
    UsageError
        If it is no positive size.

    >>> parse_memory("4GB"), parse_memory("1.5 GiB")
    (4000000000, 1610612736)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None or not 0 < float(match[1]) * unit < LARGEST_MEMORY:
        msg = f"--memory is {text[:40]!r}; give a size such as 4GB or 900MiB"
        raise UsageError(msg)
    return int(float(match[1]) * unit)


def parse_models(text: str) -> tuple[str, ...]:
    """Return the models of a list such as canopy-rgb,./mine; a folder whose name has a comma is one model.

    Raises
    ------
    UsageError
        If a name is empty or stands there twice.
    """
    names = (text,) if Path(text).is_dir() else tuple(unflattened(part.strip()) for part in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        msg = f"--model is {text!r}; give one model, or several different ones by commas"
        raise UsageError(msg)
    return names


def parse_bands(text: str) -> tuple[int, ...]:
    """Return 1-based band numbers of a list such as 3,2,1.

    Raises
    ------
    UsageError
        If it is no list of positive whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(is_count(part) for part in parts):
        msg = f"--bands is {text!r}; give band numbers from 1, in the order of the model, such as 3,2,1"
        raise UsageError(msg)
    return tuple(int(part) for part in parts)


def parse_resolution(text: str) -> float | str:
    """Return ``model``, ``native``, or metres per pixel.

    Raises
    ------
    UsageError
        If it is none of them.

    >>> parse_resolution("0.5"), parse_resolution("native")
    (0.5, 'native')
    """
    if text in {"model", "native"}:
        return text
    try:
        metres = float(text)
    except ValueError:
        metres = math.nan
    if not (math.isfinite(metres) and metres > 0):
        msg = f"--resolution is {text[:40]!r}; give model, native, or metres per pixel, above 0, such as 0.5"
        raise UsageError(msg)
    return metres


def parse_roi(text: str) -> tuple[float, ...]:
    """Return min x, min y, max x, max y; or, of a volume, min x, min y, min z, max x, max y, max z.

    Raises
    ------
    UsageError
        If it is not four or six numbers in that order.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in {4, 6} or not all(math.isfinite(n) for n in numbers):
        msg = (
            f"--roi is {text!r}; give MINX,MINY,MAXX,MAXY in the coordinates of the raster, or "
            "MINX,MINY,MINZ,MAXX,MAXY,MAXZ in those of a volume"
        )
        raise UsageError(msg)
    axes = len(numbers) // 2
    if any(low >= high for low, high in zip(numbers[:axes], numbers[axes:], strict=True)):
        msg = f"--roi is {text!r}; MINX must be below MAXX and MINY below MAXY"
        raise UsageError(msg)
    return tuple(numbers)


def parse_batch(text: str) -> int | None:
    """Return a number of tiles, or None for ``auto``.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if text == "auto":
        return None
    if not is_count(text):
        msg = f"--batch is {text[:40]!r}; give auto or a number of tiles from 1"
        raise UsageError(msg)
    return int(text)


def parse_device(text: str) -> str:
    """Return the name of a device, which this machine need not have.

    Raises
    ------
    UsageError
        If it is none of auto, cpu, cuda and cuda:N.
    """
    kind, _, index = text.partition(":")
    if kind not in {"auto", "cpu", "cuda"} or (index and not index.isdigit()):
        msg = f"--device is {text!r}; it must be auto, cpu, cuda or cuda:N"
        raise UsageError(msg)
    return text
