"""Backbones: networks that give features at stride 4 and at the output stride."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from torch import Tensor, nn

from segment_tiles.pipeline.errors import ModelError, one_line
from segment_tiles.pipeline.models.networks import drn, hrnet, xception
from segment_tiles.pipeline.models.networks.dilation import (
    LOW_LEVEL_STRIDE,
    DilationScheme,
    dilate,
    pad_before_expansion,
)
from segment_tiles.pipeline.models.networks.vgg import VGG16_CHANNELS, AtrousVGG16
from segment_tiles.pipeline.wording import counted

_AS_PUBLISHED: dict[str, tuple[int, ...]] = {
    "drn_d_54": (8,),
    "xception_jfzhang": (8, 16),
    "xception_vainf": (8, 16),
    # the stride of its coarsest branch, to which tiles keep; its features come at stride 4
    "hrnetv2_32": (32,),
    "hrnetv2_48": (32,),
}
"""Backbones that jfzhang95 and VainF wrote for themselves, with the output strides that they have there."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network that returns a list of feature maps, and where to look in it."""

    network: nn.Module
    """Maps (B, bands, H, W) to a list of (B, C, h, w)."""
    low_index: int
    """Index of the features at stride 4; meaningless where `low_channels` is 0."""
    low_channels: int
    """Channels at stride 4, 0 if there are none."""
    channels: int
    """Channels of the last features, at the output stride."""
    smallest_side: int = 1
    """Rows and columns that an image needs, in pixels."""


def build_backbone(
    name: str,
    bands: int,
    output_stride: int,
    *,
    dilation: DilationScheme = "later_blocks",
    multi_grid: tuple[int, ...] | None = None,
    pad_expansion: bool = False,
    pad_stem: bool = True,
    stem_relu: bool = True,
    final_convolution: int | None = None,
    pretrained: bool = False,
) -> Backbone:
    """Build a backbone whose last features have the output stride.

    Parameters
    ----------
    name
        Any timm model that gives features, ``vgg16`` as DeepLab v1 and v2 change it, or one that other
        projects wrote for themselves: ``drn_d_54``, ``xception_jfzhang``, ``xception_vainf``,
        ``hrnetv2_32`` and ``hrnetv2_48``.
    bands
        Number of input channels.
    output_stride
        8, 16 or 32: strides beyond it become dilation.
    dilation
        Which blocks are dilated, if the source of the weights differs from timm.
    multi_grid
        Factors for the rates of the last stage's blocks, (1, 2, 4) in DeepLabv3 section 4.3.
    pad_expansion
        MobileNetV2 of VainF and jfzhang95: see ``pad_before_expansion``.
    pad_stem
        False for VainF's MobileNetV2, whose first convolution has no padding.
    stem_relu
        False for VainF's HRNet, whose first two convolutions have no ReLU between them.
    final_convolution
        Width of the 1x1 that SMP's MobileNetV2 keeps at its end, 1280; None without it.
    pretrained
        Load timm's ImageNet weights, from its cache or the network.

    Raises
    ------
    ModelError
        Unknown name, no features at the output stride, or weights that cannot be had.
    """
    if name == "vgg16":
        return _vgg16(bands, output_stride, pretrained=pretrained)
    if name in _AS_PUBLISHED:
        return _as_published(name, bands, output_stride, stem_relu=stem_relu, pretrained=pretrained)
    if name.startswith("xception71") and output_stride == 8:
        msg = (
            f"backbone {name} at output stride 8 loses the convolution of a shortcut that its weights have "
            "(timm leaves it out where the stride is gone); use output stride 16 or 32, or xception65"
        )
        raise ModelError(msg)
    own_dilation = dilation != "later_blocks" or multi_grid is not None
    network = _timm_features(name, bands, 32 if own_dilation else output_stride, pretrained=pretrained)
    if own_dilation:
        dilate(name, network, output_stride, dilation, multi_grid)
    if pad_expansion:
        pad_before_expansion(network)
    if not pad_stem:
        cast(nn.Conv2d, network.conv_stem).padding = (0, 0)
    backbone = _describe(name, network, output_stride, trust_stride=own_dilation)
    return backbone if final_convolution is None else _with_final_convolution(backbone, final_convolution)


class FinalConvolution(nn.Module):
    """The 1x1 with batch norm and ReLU6 that ends MobileNetV2 before its classifier."""

    def __init__(self, stages: nn.Module, channels_in: int, channels: int):
        super().__init__()
        self.stages = stages
        self.conv = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, bands, H, W) to the features of the stages, the last one widened."""
        features: list[Tensor] = self.stages(image)
        widened = nn.functional.relu6(self.norm(self.conv(features[-1])))
        return [*features[:-1], widened]


def _with_final_convolution(backbone: Backbone, channels: int) -> Backbone:
    network = FinalConvolution(backbone.network, backbone.channels, channels)
    return replace(backbone, network=network, channels=channels)


def _vgg16(bands: int, output_stride: int, *, pretrained: bool) -> Backbone:
    network = AtrousVGG16(bands, output_stride)
    if pretrained:
        weights = _timm_model("vgg16", bands, pretrained=True).state_dict()
        network.load_state_dict({key: weights[key] for key in network.state_dict()})
    return Backbone(network, low_index=0, low_channels=0, channels=VGG16_CHANNELS)


def _as_published(
    name: str, bands: int, output_stride: int, *, stem_relu: bool, pretrained: bool
) -> Backbone:
    strides = _AS_PUBLISHED[name]
    if output_stride not in strides:
        known = " or ".join(str(stride) for stride in strides)
        msg = f"backbone {name} at output stride {output_stride}: its source has it at {known} only; use {known}"
        raise ModelError(msg)
    if name.startswith("hrnetv2_"):
        width = int(name.removeprefix("hrnetv2_"))
        branches = {"features_only": True, "feature_location": ""}
        timm_network = _timm_model(f"hrnet_w{width}", bands, pretrained=pretrained, **branches)
        network: nn.Module = hrnet.HighResolutionFeatures(timm_network, stem_relu=stem_relu)
        return Backbone(network, 0, hrnet.LOW_CHANNELS, hrnet.joined_channels(width))
    if pretrained:
        msg = f"backbone {name} has no ImageNet weights here; train without pretrained weights, or take xception65"
        raise ModelError(msg)
    if name == "drn_d_54":
        return Backbone(drn.DilatedResNet54(bands), 0, drn.LOW_CHANNELS, drn.CHANNELS)
    if name == "xception_jfzhang":
        network = xception.AlignedXception(bands, output_stride)
        return Backbone(network, 0, xception.LOW_CHANNELS, xception.CHANNELS)
    network = xception.PlainXception(bands, output_stride)
    side = xception.smallest_side(output_stride)
    return Backbone(network, 0, xception.LOW_CHANNELS, xception.CHANNELS, smallest_side=side)


def _timm_features(name: str, bands: int, output_stride: int, *, pretrained: bool) -> nn.Module:
    # only dilation needs the argument, and not every model knows it
    stride = {} if output_stride == 32 else {"output_stride": output_stride}
    from timm.models import FeatureHookNet  # noqa: PLC0415 - see _timm_model

    network = _timm_model(name, bands, pretrained=pretrained, features_only=True, **stride)
    if isinstance(network, FeatureHookNet):
        # hooks are invisible to torch.fx and torch.export; the getter calls the model's own method instead
        settings = {"features_only": True, "feature_cls": "getter", **stride}
        network = _timm_model(name, bands, pretrained=pretrained, **settings)
    return network


def _timm_model(name: str, bands: int, *, pretrained: bool, **settings: Any) -> nn.Module:
    import timm  # noqa: PLC0415 - brings torchvision and torch._dynamo, seconds that reading a manifest can do without

    if not timm.is_model(name.split(".", maxsplit=1)[0]):
        msg = (
            f"backbone {name!r} is not a timm model; see timm.list_models(), for example resnet50, xception65"
        )
        raise ModelError(msg)
    try:
        return timm.create_model(name, pretrained=pretrained, in_chans=bands, **settings)
    except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError, OSError) as error:
        if pretrained:
            msg = (
                f"ImageNet weights of backbone {name!r} are neither in timm's cache nor to be downloaded "
                f"({one_line(error)}); connect to a network, or train without pretrained weights"
            )
        else:
            msg = f"backbone {name!r} cannot be built with {settings} and {counted(bands, 'band')}: {one_line(error)}"
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
