"""The options of `segment-tiles model import`, turned into checked values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import split_names
from segment_tiles.pipeline.models.checkpoints.translation import ImportOptions
from segment_tiles.workflows.model_packages.weights_import import ImportRequest
from segment_tiles.workflows.options.parsers import is_count


def import_request(
    path: Path,
    out: Path,
    classes: str | None,
    *,
    mean: str | None,
    std: str | None,
    tile: int | None,
    bands: str | None,
    dtype: str,
    output_stride: int | None,
    atrous_rates: str | None,
    trust: bool,
) -> ImportRequest:
    """Return the options of the command line as a checked request.

    Raises
    ------
    UsageError
        Naming the option, its value and what it accepts.
    """
    if output_stride not in (None, 8, 16, 32):
        msg = f"--output-stride {output_stride}: use 8, 16 or 32"
        raise UsageError(msg)
    return ImportRequest(
        path=path,
        out=out,
        classes=() if classes is None else parse_names("--classes", classes),
        mean=None if mean is None else parse_numbers("--mean", mean),
        std=None if std is None else parse_numbers("--std", std),
        tile=tile,
        bands=None if bands is None else parse_names("--bands", bands),
        dtype=parse_dtype("--dtype", dtype),
        trust=trust,
        options=ImportOptions(
            output_stride, None if atrous_rates is None else parse_rates("--atrous-rates", atrous_rates)
        ),
    )


def parse_names(option: str, text: str) -> tuple[str, ...]:
    """Split names at commas.

    >>> parse_names("--classes", "water, land")
    ('water', 'land')

    Raises
    ------
    UsageError
        A name is empty.
    """
    names = split_names(text)
    if not all(names):
        msg = f"{option} {text!r} has an empty name; give names separated by commas, such as water,land"
        raise UsageError(msg)
    return names


def parse_numbers(option: str, text: str) -> tuple[float, ...]:
    """Split numbers at commas.

    Raises
    ------
    UsageError
        A part is not a finite number.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        msg = f"{option} {text!r}: numbers separated by commas are needed, such as 123.7,116.3,103.5"
        raise UsageError(msg) from error
    if not all(np.isfinite(numbers)):
        msg = f"{option} {text!r}: every number must be finite"
        raise UsageError(msg)
    return numbers


def parse_rates(option: str, text: str) -> tuple[int, ...]:
    """Split whole positive numbers at commas.

    Raises
    ------
    UsageError
        A part is not a whole number above 0.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(is_count(part) for part in parts):
        msg = f"{option} {text!r}: whole numbers above 0 are needed, such as 6,12,18"
        raise UsageError(msg)
    return tuple(int(part) for part in parts)


def parse_dtype(option: str, text: str) -> str:
    """Check the name of a number type.

    Raises
    ------
    UsageError
        Not an integer or floating type.
    """
    try:
        kind = np.dtype(text)
    except TypeError as error:
        msg = f"{option} {text!r} is no number type; use uint8, uint16, int16 or float32"
        raise UsageError(msg) from error
    if kind.kind not in "uif":
        msg = f"{option} {text!r} is no integer or floating type; use uint8, uint16, int16 or float32"
        raise UsageError(msg)
    return kind.name
