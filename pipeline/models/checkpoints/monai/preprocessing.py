"""What the transforms of a MONAI bundle do to values, if they say it in plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Normalisation (value - mean) / std and pixel size, None if a bundle does not say."""

    mean: float | None = None
    std: float | None = None
    pixel_size: float | None = None
    """Millimetres."""
    assumptions: tuple[str, ...] = ()
    known: bool = True
    """False after a transform of values that has no counterpart: mean and standard deviation stay unknown."""


_OF_VALUES = frozenset(
    {
        "AdjustContrast", "ClipIntensityPercentiles", "HistogramNormalize", "Lambda", "MaskIntensity",
        "NormalizeIntensity", "ScaleIntensity", "ScaleIntensityFixedMean", "ScaleIntensityRangePercentiles",
        "ShiftIntensity", "StdShiftIntensity", "ThresholdIntensity",
    }
)  # fmt: skip
"""Transforms that change values in a way that no fixed mean and standard deviation does."""


def read_preprocessing(configuration: Mapping[str, Any]) -> Preprocessing:
    """Return what ``preprocessing`` says in ScaleIntensityRange, NormalizeIntensity and Spacing.

    Transforms that take their numbers from each picture have no counterpart: a result would depend on what
    else lies in it. After one of them, or an expression instead of it, mean and standard deviation are not known.
    """
    preprocessing = configuration.get("preprocessing")
    transforms = preprocessing.get("transforms") if isinstance(preprocessing, Mapping) else None
    found = Preprocessing()
    for transform in transforms if isinstance(transforms, list) else []:
        if isinstance(transform, Mapping) and transform.get("_disabled_") is not True:
            found = _with(found, transform)
    return found


def _with(found: Preprocessing, transform: Mapping[str, Any]) -> Preprocessing:
    name = str(transform.get("_target_", "")).rpartition(".")[2].removesuffix("d").removesuffix("Dict")
    if name == "ScaleIntensityRange":
        low, high = _number(transform.get("a_min")), _number(transform.get("a_max"))
        # without a target range MONAI scales to 0 .. 1
        start, stop = (_number(transform.get(name, usual)) for name, usual in (("b_min", 0), ("b_max", 1)))
        if low is not None and high is not None and start is not None and stop is not None and stop > start:
            scale = (high - low) / (stop - start)
            clipped = f"values outside {low:g} to {high:g} are not cut off as the bundle does"
            notes = (clipped,) if transform.get("clip") else ()
            return _then(found, low - start * scale, scale, notes)
        return replace(found, mean=None, std=None, known=False)
    if name == "NormalizeIntensity":
        mean, std = _number(transform.get("subtrahend")), _number(transform.get("divisor"))
        if mean is not None and std is not None and not transform.get("nonzero"):
            return _then(found, mean, std, ())
    if name in _OF_VALUES:
        return replace(found, mean=None, std=None, known=False)
    if name == "Spacing":
        steps = transform.get("pixdim")
        size = _number(steps[0]) if isinstance(steps, list) and steps else _number(steps)
        if size is not None and size > 0:
            return replace(found, pixel_size=size)
    return found


def _then(found: Preprocessing, mean: float, std: float, notes: tuple[str, ...]) -> Preprocessing:
    """Scale what was scaled before: ((value - m) / s - mean) / std."""
    if not found.known:
        return found
    m, s = (0.0, 1.0) if found.mean is None or found.std is None else (found.mean, found.std)
    return replace(found, mean=m + s * mean, std=s * std, assumptions=found.assumptions + notes)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
