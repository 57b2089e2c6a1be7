"""Lengths in the units of OME, as micrometres."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

MICROMETERS_PER_UNIT: Final[Mapping[str, float]] = {
    "angstrom": 1e-4, "Å": 1e-4, "nanometer": 1e-3, "nm": 1e-3, "micrometer": 1.0, "micron": 1.0, "microns": 1.0,
    "um": 1.0, "µm": 1.0, "μm": 1.0, "millimeter": 1e3, "mm": 1e3, "centimeter": 1e4, "cm": 1e4, "inch": 25400.0,
    "in": 25400.0, "meter": 1e6, "m": 1e6,
}  # fmt: skip
"""Names and symbols of OME-XML and NGFF; the micro sign and the Greek letter are both in use."""


def micrometers(length: Any, unit: str | None) -> float | None:
    """Return a length in micrometres; None if it is absent, impossible, or in no unit of length.

    >>> micrometers(250, "nanometer"), micrometers(1, "pixel")
    (0.25, None)
    """
    factor = None if unit is None else MICROMETERS_PER_UNIT.get(unit)
    if length is None or factor is None:
        return None
    value = float(length) * factor
    return value if math.isfinite(value) and value > 0 else None
