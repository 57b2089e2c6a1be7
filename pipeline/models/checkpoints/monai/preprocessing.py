"""What the transforms of a MONAI bundle do to values, as far as it can be computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from segment_tiles.pipeline.models.checkpoints.monai.transforms import (
    FOLLOWED,
    OF_EXTENT,
    Transform,
    transforms_of_image,
)
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
        try:
            return Scaling((_merged(self.operations),))
        except ValueError:  # each can be computed in float32, all together cannot
            return None


def read_preprocessing(configuration: Mapping[str, Any]) -> Preprocessing:
    """Return what ``preprocessing`` says in transforms of values and in Spacing.

    Transforms that take their numbers from each picture become operations with the statistics of the scene. The
    scaling is not known after a transform that has no counterpart (a histogram, a class
    that is not on the lists of `transforms`), and after an expression in place of a transform, a number or a flag.
    """
    preprocessing = configuration.get("preprocessing")
    found, is_cut = Preprocessing(), False
    for transform in transforms_of_image(preprocessing) if isinstance(preprocessing, Mapping) else ():
        found = _with(found, transform, is_cut=is_cut)
        is_cut = is_cut or transform.name in OF_EXTENT
    return found


def _with(found: Preprocessing, transform: Transform, *, is_cut: bool) -> Preprocessing:
    if not transform.name:
        return replace(found, known=False)
    if transform.name in FOLLOWED:
        try:
            added = _operations(transform.name, transform.settings)
        except ValueError:  # numbers with which MONAI itself could compute nothing, or a flag that is none
            added = None
        # statistics of what was cut out are not those of the scene
        if added is None or (is_cut and any(one.statistics == "scene" for one in added)):
            return replace(found, known=False)
        return replace(found, operations=found.operations + added)
    if transform.name == "Spacing":
        steps = transform.settings.get("pixdim")
        size = _number(steps[0]) if isinstance(steps, list) and steps else _number(steps)
        if size is not None and size > 0:
            return replace(found, pixel_size=size)
    return found


def _operations(name: str, transform: Mapping[str, Any]) -> Chain | None:
    """Return what a transform does; None if it has no counterpart."""
    over: Literal["band", "all"] = "band" if _flag(transform, "channel_wise") else "all"
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
    if low is None or high is None or _flag(transform, "relative"):
        return None
    if name == "ScaleIntensityRangePercentiles":
        first = Operation("min-max", statistics="scene", over=over, percentiles=(low, high))
        return _stretched(first, transform, ("b_min", "b_max"))
    if name == "ClipIntensityPercentiles" and transform.get("sharpness_factor") is None:
        return (Operation("clip", statistics="scene", over=over, percentiles=(low, high)),)
    return None


def _normalised(transform: Mapping[str, Any], over: Literal["band", "all"]) -> Chain | None:
    nonzero = _flag(transform, "nonzero")
    given = transform.get("subtrahend"), transform.get("divisor")
    if given == (None, None):
        return (Operation("z-score", statistics="scene", over=over, nonzero=nonzero),)
    mean, std = map(_number, given)
    return None if mean is None or std is None else (Operation("z-score", mean, std, nonzero=nonzero),)


def _stretched(first: Operation | None, transform: Mapping[str, Any], names: tuple[str, str]) -> Chain | None:
    """Return what scales to 0 to 1, then to the range that a transform names: without one MONAI stays with 0 to 1."""
    low, high = (_number(transform.get(name, usual)) for name, usual in zip(names, (0, 1), strict=True))
    if first is None or low is None or high is None or high <= low:
        return None
    range_of: Chain = (
        () if (low, high) == (0, 1) else (Operation("scale", 1 / (high - low)), Operation("offset", -low))
    )
    limits: Chain = (Operation("clip", low, high),) if _flag(transform, "clip") else ()
    return (first, *range_of, *limits)


def _merged(operations: Chain) -> Chain:
    """Return operations with fixed numbers and no limits as the one z-score that they are together."""
    if any(one.statistics != "fixed" or one.nonzero or one.type.startswith("clip") for one in operations):
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
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # an int that no float holds
        return None


def _flag(transform: Mapping[str, Any], name: str) -> bool:
    """Return a flag, False if it is not given.

    Raises
    ------
    ValueError
        If it is none, such as a reference: what it will be is not known.
    """
    value = transform.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}: it must be true or false")
    return bool(value)
