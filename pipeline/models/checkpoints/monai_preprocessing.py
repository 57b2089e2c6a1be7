"""What the transforms of a MONAI bundle do to values, where they say it in plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Normalisation (value - mean) / std and pixel size, None where a bundle does not say."""

    mean: float | None = None
    std: float | None = None
    pixel_size: float | None = None
    """Millimetres."""
    assumptions: tuple[str, ...] = ()


def read_preprocessing(configuration: Mapping[str, Any]) -> Preprocessing:
    """Return what ``preprocessing`` says in ScaleIntensityRange, NormalizeIntensity and Spacing.

    Transforms that take their numbers from each picture have no counterpart: a result would depend on what
    else lies in it. They, and expressions, are passed over.
    """
    preprocessing = configuration.get("preprocessing")
    transforms = preprocessing.get("transforms") if isinstance(preprocessing, Mapping) else None
    found = Preprocessing()
    for transform in transforms if isinstance(transforms, list) else []:
        if isinstance(transform, Mapping):
            found = _with(found, transform)
    return found


def _with(found: Preprocessing, transform: Mapping[str, Any]) -> Preprocessing:
    name = str(transform.get("_target_", "")).rpartition(".")[2].removesuffix("d").removesuffix("Dict")
    if name == "ScaleIntensityRange":
        low, high = _number(transform.get("a_min")), _number(transform.get("a_max"))
        # without a target range MONAI scales to 0 .. 1
        start, stop = (_number(transform.get(word, usual)) for word, usual in (("b_min", 0), ("b_max", 1)))
        if low is not None and high is not None and start is not None and stop is not None and stop > start:
            scale = (high - low) / (stop - start)
            clipped = f"values outside {low:g} to {high:g} are not cut off as the bundle does"
            notes = (clipped,) if transform.get("clip") else ()
            return Preprocessing(low - start * scale, scale, found.pixel_size, found.assumptions + notes)
    if name == "NormalizeIntensity":
        mean, std = _number(transform.get("subtrahend")), _number(transform.get("divisor"))
        if mean is not None and std is not None:
            return Preprocessing(mean, std, found.pixel_size, found.assumptions)
    if name == "Spacing":
        steps = transform.get("pixdim")
        size = _number(steps[0]) if isinstance(steps, list) and steps else _number(steps)
        if size is not None and size > 0:
            return Preprocessing(found.mean, found.std, size, found.assumptions)
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
