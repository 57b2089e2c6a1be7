"""The options of `segment-tiles model import`, declared once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.accepted import LAYOUTS
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import split_names
from segment_tiles.pipeline.models.graphs.asked_heads import asked_heads
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.models.scaling.text import parse_scaling
from segment_tiles.workflows.options.declare import argument, option, options_of
from segment_tiles.workflows.options.keywords import values_of
from segment_tiles.workflows.options.parsers import is_count


def parse_names(option_name: str, text: str) -> tuple[str, ...]:
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
        msg = f"{option_name} {text!r} has an empty name; give names separated by commas, such as water,land"
        raise UsageError(msg)
    return names


def parse_numbers(option_name: str, text: str) -> tuple[float, ...]:
    """Split numbers at commas.

    Raises
    ------
    UsageError
        A part is not a finite number.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        msg = f"{option_name} {text!r}: numbers separated by commas are needed, such as 123.7,116.3,103.5"
        raise UsageError(msg) from error
    if not all(map(math.isfinite, numbers)):
        msg = f"{option_name} {text!r}: every number must be finite"
        raise UsageError(msg)
    return numbers


def parse_rates(text: str) -> tuple[int, ...]:
    """Split whole positive numbers at commas.

    Raises
    ------
    UsageError
        A part is not a whole number above 0.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(is_count(part) for part in parts):
        msg = f"--atrous-rates {text!r}: whole numbers above 0 are needed, such as 6,12,18"
        raise UsageError(msg)
    return tuple(int(part) for part in parts)


def parse_output_stride(text: str) -> int:
    """Return an output stride that a backbone can have.

    Raises
    ------
    UsageError
        It is none.
    """
    if text not in {"8", "16", "32"}:
        msg = f"--output-stride {text}: use 8, 16 or 32"
        raise UsageError(msg)
    return int(text)


def parse_dtype(text: str) -> str:
    """Check the name of a number type.

    Raises
    ------
    UsageError
        Not an integer or floating type.
    """
    import numpy as np  # noqa: PLC0415 - the help of the command line does without it

    try:
        kind = np.dtype(text)
    except TypeError as error:
        msg = f"--dtype {text!r} is no number type; use uint8, uint16, int16 or float32"
        raise UsageError(msg) from error
    if kind.kind not in "uif":
        msg = f"--dtype {text!r} is no integer or floating type; use uint8, uint16, int16 or float32"
        raise UsageError(msg)
    return kind.name


def parse_pixels(option_name: str, text: str) -> int:
    """Return a whole number, 0 or more for a margin, 1 or more for a factor.

    Raises
    ------
    UsageError
        It is none.
    """
    if not (is_count(text) or (text == "0" and option_name == "--margin")):
        msg = f"{option_name} {text}: a whole number of pixels is needed"
        raise UsageError(msg)
    return int(text)


def parse_constants(text: str) -> tuple[tuple[str, float | tuple[float, ...]], ...]:
    """Return names and values of constant inputs.

    >>> parse_constants("training=0, scale=1.5;2")
    (('training', 0.0), ('scale', (1.5, 2.0)))

    Raises
    ------
    UsageError
        A part is no NAME=NUMBER.
    """
    found: list[tuple[str, float | tuple[float, ...]]] = []
    for part in text.split(","):
        name, sign, value = part.strip().partition("=")
        if not name or not sign:
            msg = f"--constants {part.strip()!r}: NAME=NUMBER is needed, such as scale=1"
            raise UsageError(msg)
        numbers = parse_numbers("--constants", value.replace(";", ","))
        found.append((name, numbers[0] if len(numbers) == 1 else numbers))
    return tuple(found)


def _list(parse: Callable[[str, str], Any], name: str, help: str, metavar: str, default: Any = None) -> Any:
    return option(help, default=default, metavar=metavar, parse=partial(parse, f"--{name}"))


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What a user says of a file that another project wrote."""

    path: Path = argument(
        "MONAI bundle; folder of segmentation_models_pytorch; checkpoint of it, torchvision, VainF or "
        "jfzhang95; TorchScript, .pt2 or .onnx file.",
        metavar="PATH",
    )
    out: Path = option("Folder or URL of the new model package; its name is the model's.", metavar="DIR")
    classes: tuple[str, ...] = _list(
        parse_names,
        "classes",
        "Class names in the order of the outputs; a MONAI bundle may name its own.",
        "A,B,..",
        (),
    )
    mean: tuple[float, ...] | None = _list(
        parse_numbers, "mean", "Per band, in the units of the raster; default: ImageNet's.", "M,.."
    )
    std: tuple[float, ...] | None = _list(parse_numbers, "std", "Per band, like --mean.", "S,..")
    scaling: Scaling | None = option(
        "How values are scaled, in place of --mean and --std, such as z-score:tile or min-max:0,3000; see "
        "docs/models.md.",
        default=None,
        metavar="SCALING",
        parse=parse_scaling,
    )
    tile: int | None = option("Tile side it was trained for.", default=None, metavar="PX")
    bands: tuple[str, ...] | None = _list(
        parse_names, "bands", "Band names; default: red,green,blue.", "NAMES"
    )
    dtype: str = option("Type of the raster's values.", default="uint8", metavar="NAME", parse=parse_dtype)
    output_stride: int | None = option(
        "8, 16 or 32, if the file does not say.", default=None, metavar="N", parse=parse_output_stride
    )
    atrous_rates: tuple[int, ...] | None = option(
        "If the file does not say them.", default=None, metavar="R,R,R", parse=parse_rates
    )
    margin: int | None = option(
        "Of a graph: pixels on each side of a tile for which it has no output.",
        default=None,
        metavar="PX",
        parse=partial(parse_pixels, "--margin"),
    )
    coarser: int | None = option(
        "Of a graph: pixels of the tile along a side of one of its output.",
        default=None,
        metavar="K",
        parse=partial(parse_pixels, "--coarser"),
    )
    align_corners: bool = option("Of a coarser output: bilinear with corners aligned.", default=False)
    multi_label: bool = option(
        "Of a graph: each output is a sigmoid of its own, and classes may overlap.", default=False
    )
    layout: str | None = option(
        "Of a graph's image, nchw or nhwc, if its shape does not say.", default=None, choices=LAYOUTS
    )
    use_output: str | None = option(
        "Of a graph with several outputs: name, or number from 0, of that with the scores.",
        default=None,
        metavar="NAME",
    )
    heads: tuple[str, ...] = option(
        "Of a graph with several class maps: name, output and classes of one; may be repeated, the first is the "
        "default of --head at run.",
        name="head",
        default=(),
        metavar="NAME=OUTPUT:A,B,..",
    )
    constants: tuple[tuple[str, float | tuple[float, ...]], ...] = option(
        "Of a graph with further inputs: a number for each; several, by semicolons, fill one.",
        default=(),
        metavar="NAME=V,..",
        parse=parse_constants,
    )
    trust: bool = option(
        "Load a graph, or evaluate the expressions of a MONAI bundle: both may execute code.", default=False
    )

    def __post_init__(self) -> None:
        if self.scaling is not None and not (self.mean is None and self.std is None):
            msg = "--scaling says all that --mean and --std say; give either it or them"
            raise UsageError(msg)
        if self.heads and (self.classes or self.use_output is not None):
            other = "--classes" if self.classes else "--use-output"
            msg = f"{other} is of a graph with one class map; --head names output and classes of each"
            raise UsageError(msg)
        asked_heads(self.heads)  # refuses what is none


def import_request_from(**options: Any) -> ImportRequest:
    """Return what options ask for, by their names on the command line with ``_`` for ``-``.

    Raises
    ------
    TypeError
        If a name is none of the options, or ``path`` or ``out`` is missing.
    UsageError
        If a value is wrong; the text is that of the command line.
    """
    request = ImportRequest(**values_of(options_of(ImportRequest), options))
    if request.layout not in {None, *LAYOUTS}:
        msg = f"--layout is {request.layout!r}; it must be one of {', '.join(LAYOUTS)}"
        raise UsageError(msg)
    return request
