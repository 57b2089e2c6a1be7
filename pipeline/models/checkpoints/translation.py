"""Names of one library turned into names of ours: rules by pattern, and by order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.packages.manifest import Architecture
from segment_tiles.pipeline.wording import counted

Rule = tuple[str, str]
"""Pattern that the path of a module matches in full, and the path that it becomes."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of red, green, blue from 0 to 1: what torchvision, SMP, VainF and jfzhang95 train with."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a file without a configuration cannot say, if the user knows better than the default."""

    output_stride: int | None = None
    """8 or 16; None: the default of the source."""
    atrous_rates: tuple[int, ...] | None = None
    """At that output stride; None: the default of the source."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Normalisation of red, green, blue from 0 to 1 that a source trains with."""

    mean: tuple[float, ...]
    """Per band."""
    std: tuple[float, ...]
    """Per band."""
    whose: str
    """For people: whose they are."""


IMAGENET = Statistics(IMAGENET_MEAN, IMAGENET_STD, "ImageNet's")


@dataclass(frozen=True, slots=True)
class ImportedWeights:
    """Weights of another project, in our names, with the network that they belong to."""

    source: str
    """Name of the project."""
    architecture: Architecture
    """Builds the same function as the source's own network."""
    bands: int
    """Input channels."""
    classes: int
    """Output channels."""
    state_dict: Mapping[str, Tensor]
    """In our names."""
    assumptions: tuple[str, ...] = ()
    """What is not in the file and was taken from the source's defaults."""
    dropped: tuple[str, ...] = ()
    """Names of tensors that serve training only."""
    statistics: Statistics | None = IMAGENET
    """What the source trains with; None if it trains this network with others, which it does not say."""


def pyramid_rules(prefix: str, rates: int = 3) -> list[Rule]:
    """Name the parts of torchvision's ASPP, which SMP and VainF share; separable or not."""
    pooling = rates + 1
    return [
        (rf"{prefix}\.convs\.0\.0", "head.pyramid.branches.0.conv"),
        (rf"{prefix}\.convs\.([1-{rates}])\.0\.(?:body\.)?0", r"head.pyramid.branches.\1.depthwise"),
        (rf"{prefix}\.convs\.([1-{rates}])\.0\.(?:body\.)?1", r"head.pyramid.branches.\1.conv"),
        (rf"{prefix}\.convs\.([1-{rates}])\.0", r"head.pyramid.branches.\1.conv"),
        (rf"{prefix}\.convs\.([0-{rates}])\.1", r"head.pyramid.branches.\1.norm"),
        (rf"{prefix}\.convs\.{pooling}\.1", "head.pyramid.pooling.conv"),
        (rf"{prefix}\.convs\.{pooling}\.2", "head.pyramid.pooling.norm"),
        (rf"{prefix}\.project\.0", "head.pyramid.project.conv"),
        (rf"{prefix}\.project\.1", "head.pyramid.project.norm"),
    ]


def rename(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Rename every tensor by the first rule that its module matches; others keep their name.

    A name that no rule knows stays and is refused, with all others like it, when weights are loaded.

    Raises
    ------
    ModelError
        Two tensors would have the same name, so that one of them would be lost.
    """
    renamed: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    for key, tensor in state.items():
        name = _renamed(key, rules)
        if name in origins:
            msg = f"{origins[name]} and {key} are both {name}; a file with one of the two is needed"
            raise ModelError(msg)
        renamed[name], origins[name] = tensor, key
    return renamed


def _renamed(key: str, rules: Sequence[Rule]) -> str:
    module, _, leaf = key.rpartition(".")
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, module)
        if match is not None:
            return f"{match.expand(replacement)}.{leaf}"
    return key


def rename_in_order(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str
) -> dict[str, Tensor]:
    """Give the modules of a chain the names of another chain of the same layers, in order.

    Parameters
    ----------
    state
        Tensors whose numbered names, in natural order, follow the chain.
    expected
        The chain that they become, in the order of its own modules.
    what
        For the error text.

    Raises
    ------
    ModelError
        The chains differ in length, kind or shape.
    """
    ours, theirs = _modules(expected), sorted(_modules(state).items(), key=lambda item: _natural(item[0]))
    if len(ours) != len(theirs):
        msg = f"{what} has {counted(len(theirs), 'layer')} with weights, not {len(ours)}"
        raise ModelError(msg)
    renamed: dict[str, Tensor] = {}
    for (our_name, our_leaves), (their_name, their_leaves) in zip(ours.items(), theirs, strict=True):
        shapes = {leaf: expected[f"{our_name}.{leaf}"].shape for leaf in our_leaves}
        found = {leaf: state[f"{their_name}.{leaf}"].shape for leaf in their_leaves}
        if {**found, _COUNTER: ()} != {**shapes, _COUNTER: ()}:
            msg = f"{what} differs at {their_name}: {_shapes(found)} instead of {_shapes(shapes)}"
            raise ModelError(msg)
        renamed.update({f"{our_name}.{leaf}": state[f"{their_name}.{leaf}"] for leaf in their_leaves})
    return renamed


def with_counters(state: Mapping[str, Tensor], expected: Iterable[str]) -> dict[str, Tensor]:
    """Add the batch counters that files older than torch 0.4.1 lack; inference does not use them."""
    counters = {
        key: torch.tensor(0)
        for key in expected
        if key.endswith(f".{_COUNTER}")
        and key not in state
        and f"{key.removesuffix(_COUNTER)}weight" in state
    }
    return {**state, **counters}


def split_prefix(state: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return tensors below `prefix`, without it, and all others."""
    below = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    return below, {key: tensor for key, tensor in state.items() if not key.startswith(prefix)}


_COUNTER = "num_batches_tracked"


def _modules(state: Iterable[str]) -> dict[str, list[str]]:
    modules: dict[str, list[str]] = {}
    for key in state:
        module, _, leaf = key.rpartition(".")
        modules.setdefault(module, []).append(leaf)
    return modules


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.split(".")]


def _shapes(leaves: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{leaf} {tuple(shape)}" for leaf, shape in leaves.items() if leaf != _COUNTER)
