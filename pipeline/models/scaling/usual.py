"""Values that a scaling is made for, for measurements without a scene."""

from __future__ import annotations

from typing import Final

import numpy as np

from segment_tiles.pipeline.models.scaling.scaling import Chain, Scaling

LARGEST_USUAL: Final = 1.0
"""Of floats of which nothing is known."""
_OF_SCALED: Final = {"z-score": (0.0, 1.0), "min-max": (0.5, 0.25), "clip": (0.5, 0.25), "scale": (0.5, 0.25)}
"""Mean and deviation of what an operation gives, as a network is mostly trained on."""


def usual_values(scaling: Scaling, bands: int, dtype: str) -> tuple[list[float], list[float]]:
    """Return mean and deviation, for each of so many bands, of raw values such as a network with this scaling sees.

    With a fixed z-score they are its own.
    """
    units = scaling.units or ((1.0, 0.0),) * bands
    found = []
    for chain, (scale, offset) in zip(scaling.of_bands(bands), units, strict=True):
        mean, std = _before(chain, dtype)
        found.append(((mean - offset) / scale, abs(std / scale)))
    return [mean for mean, _ in found], [std for _, std in found]


def _before(chain: Chain, dtype: str) -> tuple[float, float]:
    """Return mean and deviation of what becomes usual by a chain; of the type of the values if they are measured."""
    if not chain or any(operation.first is None for operation in chain):
        kind = np.dtype(dtype)
        largest = LARGEST_USUAL if kind.kind == "f" else float(min(np.iinfo(kind).max, 10_000))
        return largest / 2, largest / 4
    mean, std = _OF_SCALED.get(chain[-1].type, (0.5, 0.25))
    for operation in reversed(chain):
        first, second = float(operation.first or 0.0), float(operation.second or 0.0)
        match operation.type:
            case "z-score":
                mean, std = mean * second + first, std * second
            case "min-max":
                mean, std = mean * (second - first) + first, std * (second - first)
            case "offset":
                mean += first
            case "scale":
                mean, std = mean * first, abs(std * first)
            case "clip":
                mean, std = (first + second) / 2, (second - first) / 4
    return mean, std
