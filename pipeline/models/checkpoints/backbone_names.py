"""Which backbone a set of weights is: read off names and shapes, never guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from segment_tiles.pipeline.errors import ModelError

# (blocks of the four stages, shape of the first 3x3 of the first block without its kernel)
_RESNETS: dict[tuple[tuple[int, ...], str, tuple[int, int]], str] = {
    ((2, 2, 2, 2), "basic", (64, 64)): "resnet18",
    ((3, 4, 6, 3), "basic", (64, 64)): "resnet34",
    ((3, 4, 6, 3), "bottleneck", (64, 64)): "resnet50",
    ((3, 4, 23, 3), "bottleneck", (64, 64)): "resnet101",
    ((3, 8, 36, 3), "bottleneck", (64, 64)): "resnet152",
    ((3, 4, 6, 3), "bottleneck", (128, 4)): "resnext50_32x4d",
    ((3, 4, 23, 3), "bottleneck", (128, 4)): "resnext101_32x4d",
    ((3, 4, 23, 3), "bottleneck", (256, 8)): "resnext101_32x8d",
    ((3, 4, 6, 3), "bottleneck", (128, 128)): "wide_resnet50_2",
    ((3, 4, 23, 3), "bottleneck", (128, 128)): "wide_resnet101_2",
}


def resnet_name(state: Mapping[str, Tensor], source: str) -> str:
    """Return timm's name of the ResNet that has these weights (names as in torchvision).

    Raises
    ------
    ModelError
        No ResNet that is known here.
    """
    blocks = tuple(_blocks(state, stage) for stage in (1, 2, 3, 4))
    kind = "bottleneck" if "layer1.0.conv3.weight" in state else "basic"
    first = state.get("layer1.0.conv2.weight")
    shape = (0, 0) if first is None else (first.shape[0], first.shape[1])
    name = _RESNETS.get((blocks, kind, shape))
    if name is None:
        known = ", ".join(_RESNETS.values())
        msg = (
            f"{source}: a backbone with {blocks} {kind} blocks of {shape} is not known; known are {known}, "
            "MobileNetV2 and MobileNetV3"
        )
        raise ModelError(msg)
    return name


def is_resnet(state: Mapping[str, Tensor]) -> bool:
    """Say whether names are those of torchvision's ResNet."""
    return "layer4.0.conv1.weight" in state and "conv1.weight" in state


def input_bands(state: Mapping[str, Tensor], first: str, source: str) -> int:
    """Return the input channels of the first convolution.

    Raises
    ------
    ModelError
        It is absent.
    """
    if first not in state:
        msg = f"{source}: missing {first}, the first convolution"
        raise ModelError(msg)
    return int(state[first].shape[1])


def output_classes(state: Mapping[str, Tensor], last: str, source: str) -> int:
    """Return the output channels of the last convolution.

    Raises
    ------
    ModelError
        It is absent.
    """
    if last not in state:
        msg = f"{source}: missing {last}, the last convolution"
        raise ModelError(msg)
    return int(state[last].shape[0])


def _blocks(state: Mapping[str, Tensor], stage: int) -> int:
    found = {match[1] for key in state if (match := re.match(rf"layer{stage}\.(\d+)\.", key))}
    return len(found)
