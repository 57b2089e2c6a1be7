"""What a MONAI bundle does to the outputs of its network: which class a pixel gets, and what more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.errors import ModelError

_SECTIONS: Final = ("validate", "evaluate", "train")
"""Where training configurations keep their postprocessing."""
_NEUTRAL: Final = frozenset(
    {
        "Activations", "AsDiscrete", "Compose", "CopyItems", "DeleteItems", "EnsureChannelFirst", "EnsureType",
        "Invert", "Lambda", "Resize", "SaveImage", "Spacing", "ToDevice", "ToTensor", "CastToType",
    }
)  # fmt: skip
"""Transforms that are read here, or that put the result back on the grid of its image, as the engine does."""
_HALF: Final = 0.5


def read_postprocessing(configuration: Mapping[str, Any], path: Path, *, outputs: int) -> tuple[str, ...]:
    """Check that the classes of a bundle are the largest of its outputs, or one output above 0.5 of a sigmoid.

    Parameters
    ----------
    configuration
        The configuration that holds the network.
    path
        Of the bundle, for the error text.
    outputs
        Channels of the network.

    Returns
    -------
    tuple
        Steps that change the bundle's result and are not done here, in words.

    Raises
    ------
    ModelError
        Classes that may overlap (several sigmoids), another threshold, another activation, or an expression in
        their place.
    """
    notes = []
    sigmoid = False
    for transform in _transforms(configuration):
        name = str(transform.get("_target_", "")).rpartition(".")[2].removesuffix("Dict").removesuffix("d")
        if name == "Activations":
            sigmoid = _read_activation(transform, path, outputs) or sigmoid
        elif name == "AsDiscrete":
            _read_threshold(transform, path, outputs, sigmoid=sigmoid)
        elif name and name not in _NEUTRAL:
            notes.append(name)
    return (f"not done here, of the bundle's postprocessing: {', '.join(notes)}",) if notes else ()


def _transforms(configuration: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    sections = [configuration, *(configuration.get(name) for name in _SECTIONS)]
    for section in sections:
        found = section.get("postprocessing") if isinstance(section, Mapping) else None
        transforms = found.get("transforms") if isinstance(found, Mapping) else None
        if isinstance(transforms, list):
            plain = (transform for transform in transforms if isinstance(transform, Mapping))
            yield from (transform for transform in plain if transform.get("_disabled_") is not True)
            return


def _read_activation(transform: Mapping[str, Any], path: Path, outputs: int) -> bool:
    """Return whether it is a sigmoid."""
    sigmoid, softmax = (_flag(transform, name, path) for name in ("sigmoid", "softmax"))
    if sigmoid and outputs > 1:
        msg = (
            f"{path}: its postprocessing takes a sigmoid of each of {outputs} outputs, so that classes may overlap "
            "(multi-label); one class for each pixel is needed: softmax, or a network of one output"
        )
        raise ModelError(msg)
    if softmax and outputs == 1:
        msg = f"{path}: its postprocessing takes the softmax of one output, which is 1 everywhere; a sigmoid is needed"
        raise ModelError(msg)
    if transform.get("other") is not None:
        msg = f"{path}: its postprocessing has the activation {transform['other']!r}; softmax or sigmoid is needed"
        raise ModelError(msg)
    return sigmoid


def _read_threshold(transform: Mapping[str, Any], path: Path, outputs: int, *, sigmoid: bool) -> None:
    threshold = transform.get("threshold", transform.get("logit_thresh"))
    if threshold is None or threshold is False:
        return
    value = _HALF if threshold is True else threshold
    if outputs > 1 and not _flag(transform, "argmax", path):
        msg = (
            f"{path}: its postprocessing compares each of {outputs} outputs with {value}, so that classes may overlap "
            "(multi-label); one class for each pixel is needed: argmax, or a network of one output"
        )
        raise ModelError(msg)
    # a logit above 0 is a sigmoid above 0.5
    if outputs == 1 and value != (_HALF if sigmoid else 0):
        msg = f"{path}: its postprocessing compares {'a sigmoid' if sigmoid else 'a logit'} with {value!r}; only "
        msg += "0.5 of a sigmoid, or 0 of a logit, is reproduced"
        raise ModelError(msg)


def _flag(transform: Mapping[str, Any], name: str, path: Path) -> bool:
    value = transform.get(name)
    if isinstance(value, str) or (isinstance(value, list) and any(isinstance(part, str) for part in value)):
        msg = f"{path}: its postprocessing has {name} {value!r}, an expression; true or false is needed"
        raise ModelError(msg)
    return any(value) if isinstance(value, list) else bool(value)
