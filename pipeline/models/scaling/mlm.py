"""A scaling as JSON: ``value_scaling`` of the MLM extension, and what MLM has no type for.

What MLM has no type for (several operations in order, statistics of scene or tile, percentiles) stands in an entry
``{"type": "processing", "format": "segment-tiles", "expression": ...}``, which MLM allows for combinations of any
sort; its expression is one operation or a list of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from segment_tiles.pipeline.models.scaling.expressions import chain_of_expression
from segment_tiles.pipeline.models.scaling.scaling import OPERATIONS, Chain, Operation, Scaling

OWN_FORMAT: Final = "segment-tiles"
"""Of the processing expressions that only this program knows."""
GDAL_CALC: Final = "gdal-calc"
"""Of those that the MLM extension shows, of which chains of numbers on one band are understood."""
NESTED_AT_MOST: Final = 8
"""Names in the name of an entry, as in ``value_scaling.0.expression.1``."""
_OURS: Final = {"statistics", "percentiles", "over", "nonzero"}


def scaling_of_json(entries: object, values: object = "stored") -> Scaling:
    """Read ``value_scaling``.

    Parameters
    ----------
    entries
        One for every band, or one for all bands; None: values are left as they are.
    values
        ``stored`` or ``physical``.

    Raises
    ------
    ValueError
        Naming the entry, its value, and what is needed.
    """
    if entries is None:
        return Scaling(((),), values)  # type: ignore[arg-type]  # it looks at what it gets
    if not isinstance(entries, list) or not entries:
        raise ValueError(
            f"value_scaling is {_short(entries)}: a list with an entry for every band, or one for all, is needed"
        )
    return Scaling(tuple(_chain(entry, f"value_scaling.{n}") for n, entry in enumerate(entries)), values)  # type: ignore[arg-type]


def scaling_json(scaling: Scaling) -> list[dict[str, Any]]:
    """Return ``value_scaling``."""
    return [_entry(chain) for chain in scaling.chains]


def record_of(scaling: Scaling) -> dict[str, Any]:
    """Return all of a scaling, with what was measured and read, as plain JSON values."""
    found: dict[str, Any] = {
        "values": scaling.values,
        "operations": [[_operation(operation) for operation in chain] for chain in scaling.chains],
    }
    return found | ({"units": [list(pair) for pair in scaling.units]} if scaling.units else {})


def scaling_of_record(record: Mapping[str, Any]) -> Scaling:
    """Return a scaling from what `record_of` gave.

    Raises
    ------
    ValueError, KeyError, TypeError
        If it is something else.
    """
    return Scaling(
        tuple(_chain(chain, f"operations.{n}") for n, chain in enumerate(record["operations"])),
        record["values"],
        tuple((float(scale), float(offset)) for scale, offset in record.get("units", ())),
    )


def _chain(entry: object, name: str) -> Chain:
    """Return the operations of an entry; a list of them is done in its order."""
    if isinstance(entry, list):
        if name.count(".") > NESTED_AT_MOST:
            raise ValueError(f"{name} is a list in too many lists: one list of operations is needed")
        return tuple(operation for n, one in enumerate(entry) for operation in _chain(one, f"{name}.{n}"))
    if entry is None:
        return ()
    if not isinstance(entry, dict):
        raise ValueError(f"{name} is {_short(entry)}: an object with a type is needed")
    if "type" not in entry:
        raise ValueError(f"{name} lacks its type: one of {', '.join(OPERATIONS)}, processing or null")
    kind = entry["type"]
    if kind is None:
        return ()
    if kind == "processing":
        return _processed(entry, name)
    try:
        return (_read(entry),)
    except ValueError as error:
        text = str(error)
        raise ValueError(f"{name}{text}" if text[0] in ". " else f"{name}: {text}") from error


def _processed(entry: Mapping[str, Any], name: str) -> Chain:
    kind, expression = entry.get("format"), entry.get("expression")
    if kind == OWN_FORMAT:
        return _chain(expression, f"{name}.expression")
    if kind == GDAL_CALC and isinstance(expression, str):
        try:
            return chain_of_expression(expression)
        except ValueError as error:
            raise ValueError(f"{name}: processing expression {_short(expression)}: {error}") from error
    raise ValueError(
        f"{name}: a processing expression of format {_short(kind)} cannot be computed here; write it as a chain of "
        f"{', '.join(OPERATIONS)}, or give --scaling"
    )


def _read(entry: Mapping[str, Any]) -> Operation:
    kind = entry["type"]
    names = OPERATIONS.get(kind, ()) if isinstance(kind, str) else ()
    if not names:
        raise ValueError(
            f".type is {_short(kind)}: it must be one of {', '.join(OPERATIONS)}, processing or null"
        )
    unknown = entry.keys() - {"type", *names, *_OURS} if entry.keys() & _OURS else ()
    if unknown:
        raise ValueError(
            f".{min(map(str, unknown))} is not known beside statistics: percentiles, over and nonzero are"
        )
    for name in names:
        if name in entry:
            _number(entry[name], name)
        elif "statistics" not in entry:
            raise ValueError(f" lacks {name}")
    first, second = (*(entry.get(name) for name in names), None)[:2]
    return Operation(
        kind,
        None if first is None else float(first),
        None if second is None else float(second),
        entry.get("statistics", "fixed"),
        _percentiles(entry.get("percentiles")),
        entry.get("over", "band"),
        _flag(entry.get("nonzero", False)),
    )


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f".nonzero is {_short(value)}: it must be true or false")
    return value


def _percentiles(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f".percentiles is {_short(value)}: two numbers are needed, such as [2, 98]")
    return _number(value[0], "percentiles.0"), _number(value[1], "percentiles.1")


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f".{name} is {_short(value)}: it must be a valid number")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f".{name} is {_short(value)}: it must be a valid number") from error


def _entry(chain: Chain) -> dict[str, Any]:
    if not chain:
        return {"type": None}
    if len(chain) == 1 and chain[0].statistics == "fixed" and not chain[0].nonzero:
        return _operation(chain[0])
    operations = [_operation(operation) for operation in chain]
    return {"type": "processing", "format": OWN_FORMAT, "expression": operations}


def _operation(operation: Operation) -> dict[str, Any]:
    numbers: Sequence[float | None] = (operation.first, operation.second)
    found: dict[str, Any] = {"type": operation.type}
    found |= {
        name: number
        for name, number in zip(OPERATIONS[operation.type], numbers, strict=False)
        if number is not None
    }
    if operation.nonzero:
        found["nonzero"] = True
    if operation.statistics == "fixed":
        return found
    found["statistics"] = operation.statistics
    if operation.percentiles is not None:
        found["percentiles"] = list(operation.percentiles)
    return found if operation.over == "band" else found | {"over": operation.over}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
