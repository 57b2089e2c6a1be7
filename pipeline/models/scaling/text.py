"""A scaling as text, as ``--scaling`` has it: ``z-score:tile``, ``clip:0,3000+scale:3000``, or the name of a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.errors import UsageError, one_line
from segment_tiles.pipeline.models.scaling.mlm import scaling_of_json
from segment_tiles.pipeline.models.scaling.scaling import OPERATIONS, Operation, Scaling

GRAMMAR: Final = (
    "give operations joined by +, such as z-score:tile, min-max:0,3000, clip:0,3000+scale:3000, "
    "min-max:tile:2,98, z-score:scene:all, z-score:scene:nonzero, physical+scale:0.3, none, or a JSON or YAML file"
)
SUFFIXES: Final = (".json", ".yaml", ".yml")
"""Of files; their content is a list as MLM's ``value_scaling``, or an object with ``values`` beside it."""
_VALUES: Final = ("stored", "physical")


def parse_scaling(text: str) -> Scaling:
    """Return the scaling that a text describes, or the file that it names.

    >>> str(parse_scaling("physical+clip:0,1+z-score:tile"))
    'physical values, clip 0, 1 then z-score of each tile, band by band'

    Raises
    ------
    UsageError
        With what cannot be understood, and what can.
    """
    try:
        return _of_file(Path(text)) if text.lower().endswith(SUFFIXES) else _of_text(text)
    except ValueError as error:
        msg = f"--scaling is {text[:80]!r}; {error}"
        raise UsageError(msg) from error


def _of_text(text: str) -> Scaling:
    values, chain = "stored", list[Operation]()
    # the + of an exponent is followed by a digit
    for position, written in enumerate(re.split(r"\+(?=\s*[A-Za-z])", text)):
        part = written.strip().lower()
        if part in _VALUES and position == 0:
            values = part
        elif part != "none":
            chain.append(_operation(part))
    return Scaling((tuple(chain),), values)  # type: ignore[arg-type]  # one of the two


def _operation(part: str) -> Operation:
    kind, *rest = part.split(":")
    if kind not in OPERATIONS:
        raise ValueError(f"{kind!r} is not known: {GRAMMAR}")
    if rest and rest[0] in {"scene", "tile"}:
        return _measured(kind, rest)
    wanted = len(OPERATIONS[kind])
    numbers = _numbers(rest[0]) if len(rest) == 1 else ()
    if len(numbers) != wanted:
        raise ValueError(
            f"{kind} needs {' and '.join(OPERATIONS[kind])}, as {kind}:{'1,2'[: 2 * wanted - 1]}: {GRAMMAR}"
        )
    return Operation(kind, numbers[0], numbers[1] if wanted > 1 else None)


def _measured(kind: str, rest: list[str]) -> Operation:
    details: dict[str, Any] = {}
    for detail in rest[1:]:
        if detail in {"band", "all"}:
            details["over"] = detail
        elif detail == "nonzero":
            details["nonzero"] = True
        else:
            pair = _numbers(detail)
            if len(pair) != 2:
                raise ValueError(
                    f"{kind}:{rest[0]} has {detail!r}: two percentiles such as 2,98, all or nonzero: {GRAMMAR}"
                )
            details["percentiles"] = pair
    return Operation(kind, statistics=rest[0], **details)  # type: ignore[arg-type]  # one of the two


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"{text!r} is no list of numbers: {GRAMMAR}") from error


def _of_file(path: Path) -> Scaling:
    document = _read(path)
    if isinstance(document, dict):
        unknown = document.keys() - {"values", "value_scaling"}
        if unknown:
            raise ValueError(f"the file has {min(map(str, unknown))!r}: values and value_scaling are known")
        return scaling_of_json(document.get("value_scaling"), document.get("values", "stored"))
    if document is None:
        raise ValueError("the file holds nothing: a list as MLM's value_scaling is needed")
    return scaling_of_json(document)


def _read(path: Path) -> Any:
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError) as error:  # the last: of a home that nobody has
        raise ValueError(f"the file cannot be read ({one_line(error)})") from error
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the file is not JSON ({one_line(error)})") from error
    import yaml  # noqa: PLC0415 - of YAML files alone

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"the file is not YAML ({one_line(error)})") from error
