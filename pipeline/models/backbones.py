"""Backbones: networks that give features at stride 4 and at the output stride."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

import timm
from torch import nn

from segment_tiles.pipeline.errors import ModelError, one_line
from segment_tiles.pipeline.models.vgg import VGG16_CHANNELS, AtrousVGG16

DilationScheme = Literal["later_blocks", "whole_stage", "next_stage"]
LOW_LEVEL_STRIDE = 4
"""Stride of the low-level features of the v3+ decoder (arXiv 1802.02611, section 3.1)."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network that returns a list of feature maps, and where to look in it."""

    network: nn.Module
    """Maps (B, bands, H, W) to a list of (B, C, h, w)."""
    low_index: int
    """Place of the features at stride 4; meaningless where `low_channels` is 0."""
    low_channels: int
    """Channels at stride 4, 0 if there are none."""
    channels: int
    """Channels of the last features, at the output stride."""


def build_backbone(
    name: str,
    bands: int,
    output_stride: int,
    *,
    dilation: DilationScheme = "later_blocks",
    multi_grid: tuple[int, ...] | None = None,
    pretrained: bool = False,
) -> Backbone:
    """Build a backbone whose last features have the output stride.

    Parameters
    ----------
    name
        Any timm model that gives features, or ``vgg16`` as DeepLab v1 and v2 change it.
    bands
        Number of input channels.
    output_stride
        8, 16 or 32: strides beyond it become dilation.
    dilation
        Which blocks of a stage without its stride are dilated. Tensors have the same shapes in all
        three, the functions differ:
        ``later_blocks`` the first block keeps the rate of the stage before (timm, torchvision, VainF);
        ``whole_stage`` every block (SMP, jfzhang95 ResNet, and TensorFlow, whose strides sit in the last
        block of a stage); ``next_stage`` only the stages after it (jfzhang95 MobileNet).
    multi_grid
        Factors for the rates of the last stage's blocks, (1, 2, 4) in DeepLabv3 section 4.3.
    pretrained
        Load timm's ImageNet weights, from its cache or the network.

    Raises
    ------
    ModelError
        Unknown name, no features at the output stride, or weights that cannot be had.
    """
    if name == "vgg16":
        return _vgg16(bands, output_stride, pretrained=pretrained)
    if name.startswith("xception71") and output_stride == 8:
        msg = (
            f"backbone {name} at output stride 8 loses the convolution of a shortcut that its weights have "
            "(timm leaves it out where the stride is gone); use output stride 16 or 32, or xception65"
        )
        raise ModelError(msg)
    own_dilation = dilation != "later_blocks" or multi_grid is not None
    network = _timm_features(name, bands, 32 if own_dilation else output_stride, pretrained=pretrained)
    if own_dilation:
        _dilate(name, network, output_stride, dilation, multi_grid)
    return _describe(name, network, output_stride, trust_stride=own_dilation)


def _vgg16(bands: int, output_stride: int, *, pretrained: bool) -> Backbone:
    network = AtrousVGG16(bands, output_stride)
    if pretrained:
        weights = _timm_model("vgg16", bands, pretrained=True).state_dict()
        network.load_state_dict({key: weights[key] for key in network.state_dict()})
    return Backbone(network, low_index=0, low_channels=0, channels=VGG16_CHANNELS)


def _timm_features(name: str, bands: int, output_stride: int, *, pretrained: bool) -> nn.Module:
    # only dilation needs the argument, and not every model knows it
    stride = {} if output_stride == 32 else {"output_stride": output_stride}
    return _timm_model(name, bands, pretrained=pretrained, features_only=True, **stride)


def _timm_model(name: str, bands: int, *, pretrained: bool, **settings: bool | int) -> nn.Module:
    if not timm.is_model(name.split(".", maxsplit=1)[0]):
        msg = (
            f"backbone {name!r} is not a timm model; see timm.list_models(), for example resnet50, xception65"
        )
        raise ModelError(msg)
    try:
        return cast(nn.Module, timm.create_model(name, pretrained=pretrained, in_chans=bands, **settings))
    except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError, OSError) as error:
        if pretrained:
            msg = (
                f"ImageNet weights of backbone {name!r} are neither in timm's cache nor to be downloaded "
                f"({one_line(error)}); connect to a network, or train without pretrained weights"
            )
        else:
            msg = f"backbone {name!r} cannot be built with {settings} and {bands} bands: {one_line(error)}"
        raise ModelError(msg) from error


def _describe(name: str, network: nn.Module, output_stride: int, *, trust_stride: bool) -> Backbone:
    info = network.feature_info
    reductions = list(info.reduction())  # type: ignore[union-attr, operator]
    channels = list(info.channels())  # type: ignore[union-attr, operator]
    if not trust_stride and reductions[-1] != output_stride:
        msg = (
            f"backbone {name!r} ends at stride {reductions[-1]}, not at the output stride {output_stride}; "
            f"choose a backbone that supports it, or output stride {reductions[-1]}"
        )
        raise ModelError(msg)
    at_low = [index for index, stride in enumerate(reductions) if stride == LOW_LEVEL_STRIDE]
    low = at_low[-1] if at_low else -1
    return Backbone(network, low, channels[low] if at_low else 0, channels[-1])


def _dilate(
    name: str,
    network: nn.Module,
    output_stride: int,
    scheme: DilationScheme,
    multi_grid: tuple[int, ...] | None,
) -> None:
    """Turn the strides beyond the output stride of a ResNet or MobileNet into dilation, in place."""
    stages = _stages(name, network)
    stride, rate = LOW_LEVEL_STRIDE, 1
    for number, blocks in enumerate(stages):
        stage_stride = _stride_of(blocks)
        before = rate
        if stride * stage_stride > output_stride:
            rate *= stage_stride
            _remove_stride(blocks)
        else:
            stride *= stage_stride
        last = number == len(stages) - 1
        factors = multi_grid if last and multi_grid is not None else (1,) * len(blocks)
        if len(factors) != len(blocks):
            msg = f"multi_grid {factors} has {len(factors)} rates; the last stage of {name} has {len(blocks)} blocks"
            raise ModelError(msg)
        for index, (block, factor) in enumerate(zip(blocks, factors, strict=True)):
            undilated = scheme == "next_stage" or (scheme == "later_blocks" and index == 0)
            block_rate = before if undilated else rate
            _set_rate(block, block_rate * factor)


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
