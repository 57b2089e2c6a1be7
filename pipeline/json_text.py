"""JSON as the standard has it: the only way in which this program turns values into JSON text.

Python's own writer puts ``NaN`` and ``Infinity`` into its text, which are no JSON: browsers, jq, databases and most
other languages refuse the whole document.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from typing import Any


def json_text(
    value: Any, *, indent: int | None = 2, sort_keys: bool = False, ensure_ascii: bool = True
) -> str:
    """Return plain values as one valid JSON document without a line end.

    A number that is not finite becomes null: nobody knows it. The exception is nodata, if it is a value that
    pixels have: it becomes ``"nan"``, ``"inf"`` or ``"-inf"``, which are the names that STAC gives them.

    Parameters
    ----------
    value
        Mappings, lists, tuples, text, numbers, booleans, None.
    indent
        Spaces of a level; None writes one line.
    sort_keys
        Keys in alphabetical order, for texts that are compared.
    ensure_ascii
        Characters beyond ASCII are escaped; a file without that must be written as UTF-8.

    Raises
    ------
    TypeError
        If a value is none of these.

    Examples
    --------
    >>> json_text({"iou": float("nan"), "nodata": [0, float("nan")], "limit": float("-inf")}, indent=None)
    '{"iou": null, "nodata": [0, "nan"], "limit": null}'
    """
    write = partial(
        json.dumps,  # noqa: TID251 - here alone
        indent=indent,
        sort_keys=sort_keys,
        ensure_ascii=ensure_ascii,
        allow_nan=False,
    )
    try:
        return write(value)
    except (
        ValueError,
        TypeError,
    ):  # a number that is not finite, or a mapping that is no dict: both are rare
        return write(_finite(value, is_nodata=False))


def _finite(value: Any, *, is_nodata: bool) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else (str(float(value)) if is_nodata else None)
    if isinstance(value, Mapping):
        return {
            key: _finite(entry, is_nodata=str(key).lstrip("-") == "nodata") for key, entry in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_finite(entry, is_nodata=is_nodata) for entry in value]
    return value
