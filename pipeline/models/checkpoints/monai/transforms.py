"""The transforms of a MONAI bundle as it writes them: which there are, on what, and which leave values as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

FOLLOWED: Final = frozenset(
    {
        "ClipIntensityPercentiles", "NormalizeIntensity", "ScaleIntensity", "ScaleIntensityRange",
        "ScaleIntensityRangePercentiles",
    }
)  # fmt: skip
"""Change values in a way that has counterparts here."""
OF_EXTENT: Final = frozenset(
    {
        "BorderPad", "CenterScaleCrop", "CenterSpatialCrop", "CropForeground", "DivisiblePad",
        "ResizeWithPadOrCrop", "SpatialCrop", "SpatialPad",
    }
)  # fmt: skip
"""Cut or pad: values stay as they are, their statistics do not."""
OF_NO_VALUES: Final = frozenset(
    {
        "AddChannel", "ApplyPending", "AsChannelFirst", "AsChannelLast", "CastToType", "DataStats", "DeleteItems",
        "EnsureChannelFirst", "EnsureType", "FromMetaTensor", "Identity", "LoadImage", "Orientation",
        "ResampleToMatch", "Resize", "SelectItems", "SimulateDelay", "Spacing", "SpatialResample", "SqueezeDim",
        "ToCupy", "ToDevice", "ToMetaTensor", "ToNumpy", "ToTensor",
    }
)  # fmt: skip
"""Leave values as they are, but for interpolation between pixels. What is in no list may do anything."""
_KNOWN: Final = FOLLOWED | OF_EXTENT | OF_NO_VALUES
_FLOATS: Final = frozenset({"float", "float32", "float64", "double"})
"""Types that lose nothing of float32."""
_MARKS: Final = ("@", "$", "%")
"""With which a reference, an expression and a macro begin."""
_IMAGE: Final = "image"
"""Key of what the network sees; a bundle may have another if it has one alone."""


@dataclass(frozen=True, slots=True)
class Transform:
    """One transform of the image."""

    name: str
    """Of MONAI's class for arrays, such as Spacing; empty if what it does is not known."""
    settings: Mapping[str, Any]
    """As written: a string that begins with @ or $ is a reference or an expression."""


_UNKNOWN: Final = Transform("", {})


def transforms_of_image(preprocessing: Mapping[str, Any]) -> list[Transform]:
    """Return what is done to the image, in its order, of a ``Compose`` and those in it.

    Transforms of other items, such as a label, are left out. A reference, an expression, and a class of which it is
    not known what it does to values become one without a name.
    """
    there = list(_opened(preprocessing))
    seen = {key for one in there for key in _keys(one) or ()}
    image = next(iter(seen)) if len(seen) == 1 and seen != {"label"} else _IMAGE
    # of several keys none of which is the image: any may become it
    is_sure = image in seen or seen <= {"label"}
    return [named for one in there if (named := _of_image(one, image, is_sure=is_sure)) is not None]


def _opened(transform: object) -> Iterator[Mapping[str, Any] | None]:
    """Yield the transforms in a Compose, or the one that it is; None: what cannot be read."""
    if not isinstance(transform, Mapping):
        yield None
        return
    disabled = transform.get("_disabled_", False)
    if isinstance(disabled, str):
        disabled = {"true": True, "false": False}.get(disabled.lower().strip())
    inner = transform.get("transforms")
    if disabled is None:
        yield None
    elif disabled:
        return
    elif _class_of(transform.get("_target_", "Compose")) != "Compose":
        yield transform
    elif isinstance(inner, list):
        for one in inner:
            yield from _opened(one)
    else:
        yield None


def _class_of(target: object) -> str:
    """Return the name of MONAI's class for arrays; empty if it is not one of MONAI's."""
    module, _, name = str(target).rpartition(".")
    if module and not (module + ".").startswith("monai."):
        return ""
    if name in _KNOWN:
        return name
    for end in ("Dict", "D", "d"):
        if name.endswith(end):
            return name.removesuffix(end)
    return name


def _keys(transform: Mapping[str, Any] | None) -> tuple[str, ...] | None:
    """Return the items that a transform is done to; None if it does not say, or not in plain text."""
    keys = None if transform is None else transform.get("keys")
    found = (keys,) if isinstance(keys, str) else tuple(keys) if isinstance(keys, list) else ()
    is_plain = all(isinstance(key, str) and not key.startswith(_MARKS) for key in found)
    return found if found and is_plain else None


def _of_image(transform: Mapping[str, Any] | None, image: str, *, is_sure: bool) -> Transform | None:
    """Return a transform if the image is among its items, or if that is not known."""
    if transform is None:
        return _UNKNOWN
    name = _class_of(transform.get("_target_"))
    settings = {key: value for key, value in transform.items() if not key.startswith("_")}
    if name in _KNOWN and transform.get("_mode_") in {None, "default"} and _keeps_numbers(settings):
        found = Transform(name, settings)
    else:
        found = _UNKNOWN
    keys = _keys(transform)
    if keys is None:  # a class for arrays has none; a reference to keys may be to any
        return found if "keys" not in settings or name not in FOLLOWED else _UNKNOWN
    if image in keys:
        return found
    # an item is made the image, as ConcatItems does, or it is known not to be
    others = [value for key, value in settings.items() if key != "keys"]
    makes_image = any(value == image or (isinstance(value, list) and image in value) for value in others)
    is_other = name in OF_EXTENT | OF_NO_VALUES or (is_sure and bool(name) and not makes_image)
    return None if is_other else _UNKNOWN


def _keeps_numbers(settings: Mapping[str, Any]) -> bool:
    """Whether values stay numbers of float32, and are read as the file has them."""
    reader = settings.get("reader")
    is_plain = reader is None or (isinstance(reader, str) and not reader.startswith(_MARKS))
    dtype = settings.get("dtype")
    types = dtype if isinstance(dtype, list) else [] if dtype is None else [dtype]
    return (
        is_plain
        and "converter" not in settings
        and all(str(one).rpartition(".")[2] in _FLOATS for one in types)
    )
