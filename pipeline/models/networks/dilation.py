"""Strides beyond the output stride turned into dilation, block by block, the way of each library."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

from torch import nn

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.wording import counted

DilationScheme = Literal["later_blocks", "whole_stage", "next_stage"]
"""Which blocks of a stage without its stride are dilated.

The tensors have the same shapes in all three, the functions differ::

    stage 4 of a ResNet at output stride 16       rates of its three blocks
    later_blocks   timm, torchvision, VainF       1, 2, 2     the first keeps the rate of the stage before
    whole_stage    SMP, jfzhang95, TensorFlow     2, 2, 2     slim strides in the last block of a stage
    next_stage     jfzhang95 MobileNet            1, 1, 1     only the stages after it are dilated
"""
LOW_LEVEL_STRIDE = 4
"""Stride of the low-level features of the v3+ decoder (arXiv 1802.02611, section 3.1)."""


def dilate(
    name: str,
    network: nn.Module,
    output_stride: int,
    scheme: DilationScheme,
    multi_grid: tuple[int, ...] | None,
) -> None:
    """Turn the strides beyond the output stride of a ResNet or MobileNet into dilation, in place.

    Raises
    ------
    ModelError
        The network is of neither kind, or `multi_grid` does not fit its last stage.
    """
    stages = _stages(name, network)
    stride, rate = LOW_LEVEL_STRIDE, 1
    for blocks in stages:
        before = rate
        stage_stride = _stride_of(blocks)
        if stride * stage_stride > output_stride:
            rate *= stage_stride
            _remove_stride(blocks)
        else:
            stride *= stage_stride
        factors = _factors(name, multi_grid if blocks is stages[-1] else None, len(blocks))
        for index, (block, factor) in enumerate(zip(blocks, factors, strict=True)):
            undilated = scheme == "next_stage" or (scheme == "later_blocks" and index == 0)
            _set_rate(block, (before if undilated else rate) * factor)


def pad_before_expansion(network: nn.Module) -> None:
    """Let the blocks of a MobileNetV2 pad their input instead of the input of the depthwise step.

    VainF and jfzhang95 pad with zeros before the 1x1 expansion, so the depthwise convolution sees
    relu6(shift of the batch norm) beyond the edge, not zero. A 1x1 with padding is that same function.
    """
    for block in network.modules():
        if hasattr(block, "conv_pw") and hasattr(block, "conv_pwl"):
            depthwise, expansion = cast(nn.Conv2d, block.conv_dw), cast(nn.Conv2d, block.conv_pw)
            expansion.padding, depthwise.padding = depthwise.padding, (0, 0)


def _factors(name: str, multi_grid: tuple[int, ...] | None, blocks: int) -> tuple[int, ...]:
    factors = multi_grid if multi_grid is not None else (1,) * blocks
    if len(factors) != blocks:
        rates = counted(len(factors), "rate")
        msg = f"multi_grid {factors} has {rates}; the last stage of {name} has {counted(blocks, 'block')}"
        raise ModelError(msg)
    return factors


def _stages(name: str, network: nn.Module) -> list[list[nn.Module]]:
    """Blocks of the stages after stride 4, in order."""
    if hasattr(network, "layer4"):
        return [list(getattr(network, f"layer{number}").children()) for number in (2, 3, 4)]
    if hasattr(network, "blocks"):
        stages = cast(Iterable[nn.Module], network.blocks)
        return [list(stage.children()) for stage in stages][2:]
    msg = f"backbone {name!r} is neither a ResNet nor a MobileNet: its rates cannot be set one by one"
    raise ModelError(msg)


def _convolutions(modules: Iterable[nn.Module]) -> list[nn.Conv2d]:
    return [m for module in modules for m in module.modules() if isinstance(m, nn.Conv2d)]


def _stride_of(blocks: list[nn.Module]) -> int:
    return max(conv.stride[0] for conv in _convolutions(blocks))


def _remove_stride(blocks: list[nn.Module]) -> None:
    for conv in _convolutions(blocks):
        conv.stride = (1, 1)


def _set_rate(block: nn.Module, rate: int) -> None:
    for conv in _convolutions([block]):
        if conv.kernel_size[0] > 1:
            conv.dilation = (rate, rate)
            half = conv.kernel_size[0] // 2 * rate
            conv.padding = (half, half)
