"""What the transforms of a MONAI bundle do to values, as far as it can be computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from segment_tiles.pipeline.models.scaling.scaling import Chain, Operation, Scaling


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Scaling and pixel size, None if a bundle does not say."""

    operations: Chain = ()
    """On values, in the order of the transforms."""
    pixel_size: float | None = None
    """Millimetres."""
    known: bool = True
    """False after a transform of values that has no counterpart: what it does stays unknown."""

    @property
    def scaling(self) -> Scaling | None:
        """What is done to every band; None if the bundle does not say, or nothing that can be computed here."""
        if not self.known or not self.operations:
            return None
        return Scaling((_merged(self.operations),))


_OF_VALUES = frozenset(
    {
        "AdjustContrast", "ClipIntensityPercentiles", "HistogramNormalize", "Lambda", "MaskIntensity",
        "NormalizeIntensity", "ScaleIntensity", "ScaleIntensityFixedMean", "ScaleIntensityRange",
        "ScaleIntensityRangePercentiles", "ShiftIntensity", "StdShiftIntensity", "ThresholdIntensity",
    }
)  # fmt: skip
"""Transforms that change values."""


def read_preprocessing(configuration: Mapping[str, Any]) -> Preprocessing:
    """Return what ``preprocessing`` says in transforms of values and in Spacing.

    Transforms that take their numbers from each picture become operations with the statistics of the scene. After
    one that has no counterpart (a histogram, statistics of what is not 0), or an expression in place of a number,
    the scaling is not known.
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
    if name in _OF_VALUES:
        try:
            added = _operations(name, transform)
        except ValueError:  # numbers with which MONAI itself could compute nothing
            added = None
        if added is None:
            return replace(found, known=False)
        return replace(found, operations=found.operations + added)
    if name == "Spacing":
        steps = transform.get("pixdim")
        size = _number(steps[0]) if isinstance(steps, list) and steps else _number(steps)
        if size is not None and size > 0:
            return replace(found, pixel_size=size)
    return found


def _operations(name: str, transform: Mapping[str, Any]) -> Chain | None:
    """Return what a transform does; None if it has no counterpart."""
    over: Literal["band", "all"] = "band" if transform.get("channel_wise") is True else "all"
    if name == "ScaleIntensityRange":
        low, high = _number(transform.get("a_min")), _number(transform.get("a_max"))
        first = None if low is None or high is None else Operation("min-max", low, high)
        return _stretched(first, transform, ("b_min", "b_max"))
    if name == "NormalizeIntensity":
        return _normalised(transform, over)
    if name == "ScaleIntensity" and transform.get("factor") is None:
        return _stretched(Operation("min-max", statistics="scene", over=over), transform, ("minv", "maxv"))
    return _by_percentiles(name, transform, over)


def _by_percentiles(name: str, transform: Mapping[str, Any], over: Literal["band", "all"]) -> Chain | None:
    low, high = _number(transform.get("lower")), _number(transform.get("upper"))
    if low is None or high is None or transform.get("relative"):
        return None
    if name == "ScaleIntensityRangePercentiles":
        first = Operation("min-max", statistics="scene", over=over, percentiles=(low, high))
        return _stretched(first, transform, ("b_min", "b_max"))
    if name == "ClipIntensityPercentiles" and transform.get("sharpness_factor") is None:
        return (Operation("clip", statistics="scene", over=over, percentiles=(low, high)),)
    return None


def _normalised(transform: Mapping[str, Any], over: Literal["band", "all"]) -> Chain | None:
    if transform.get("nonzero"):
        return None
    given = transform.get("subtrahend"), transform.get("divisor")
    if given == (None, None):
        return (Operation("z-score", statistics="scene", over=over),)
    mean, std = map(_number, given)
    return None if mean is None or std is None else (Operation("z-score", mean, std),)


def _stretched(first: Operation | None, transform: Mapping[str, Any], names: tuple[str, str]) -> Chain | None:
    """Return what scales to 0 to 1, then to the range that a transform names: without one MONAI stays with 0 to 1."""
    low, high = (_number(transform.get(name, usual)) for name, usual in zip(names, (0, 1), strict=True))
    if first is None or low is None or high is None or high <= low:
        return None
    range_of: Chain = (
        () if (low, high) == (0, 1) else (Operation("scale", 1 / (high - low)), Operation("offset", -low))
    )
    limits: Chain = (Operation("clip", low, high),) if transform.get("clip") else ()
    return (first, *range_of, *limits)


def _merged(operations: Chain) -> Chain:
    """Return operations with fixed numbers and no limits as the one z-score that they are together."""
    if any(one.statistics != "fixed" or one.type.startswith("clip") for one in operations):
        return operations
    mean, std = 0.0, 1.0
    for one in operations:
        first, second = float(one.first or 0), float(one.second or 0)
        low, step = {
            "z-score": (first, second),
            "min-max": (first, second - first),
            "offset": (first, 1.0),
            "scale": (0.0, first),
        }[one.type]
        mean, std = mean + std * low, std * step
    return (Operation("z-score", mean, std),)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
