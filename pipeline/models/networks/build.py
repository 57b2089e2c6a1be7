"""Networks from their description: the one module that knows every architecture."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.networks.backbones import Backbone, build_backbone
from segment_tiles.pipeline.models.networks.comparison import COMPARISON, build_comparison
from segment_tiles.pipeline.models.networks.heads import (
    AtrousPyramid,
    DeepLabV3Head,
    DeepLabV3PlusHead,
    SummedAtrousPyramid,
)
from segment_tiles.pipeline.models.networks.layers import conv_norm_relu, resize
from segment_tiles.pipeline.models.networks.monai_networks import MONAI, build_monai
from segment_tiles.pipeline.models.networks.settings import DEEPLAB, NetworkSettings, parse_settings
from segment_tiles.pipeline.models.packages.manifest import Architecture


class DeepLab(nn.Module):
    """Backbone and head; logits are brought back to the size of the input, whatever it is."""

    def __init__(self, backbone: Backbone, head: nn.Module, *, align_corners: bool):
        super().__init__()
        self.backbone = backbone.network
        self.head = head
        self.low_index = backbone.low_index
        self.smallest_side = backbone.smallest_side
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> Tensor:
        """Map normalised (B, bands, H, W) to logits (B, classes, H, W)."""
        features = self.backbone(image)
        logits = self.head(features[self.low_index], features[-1])
        return resize(logits, image, align_corners=self.align_corners)


def build_network(
    architecture: Architecture, bands: int, classes: int, *, pretrained: bool = False
) -> nn.Module:
    """Build a network with random weights; nothing is downloaded unless `pretrained`.

    Parameters
    ----------
    architecture
        What to build.
    bands
        Number of input channels.
    classes
        Number of output channels.
    pretrained
        Start the backbone from timm's ImageNet weights.

    Returns
    -------
    nn.Module
        Maps normalised float32 (B, bands, H, W) to logits (B, classes, H, W) of the same size.

    Raises
    ------
    ModelError
        The description cannot be built; the text says which part and what would do.
    """
    if bands < 1 or classes < 1:
        msg = f"a network with {bands} bands and {classes} classes: both must be at least 1"
        raise ModelError(msg)
    if architecture.arch in DEEPLAB:
        settings = parse_settings(architecture)
        return _deeplab(architecture, settings, bands, classes, pretrained=pretrained)
    if architecture.arch in COMPARISON:
        return build_comparison(architecture, bands, classes, pretrained=pretrained)
    if architecture.arch == MONAI:
        return build_monai(architecture, bands, classes)
    known = ", ".join((*DEEPLAB, *COMPARISON, MONAI))
    msg = f"architecture {architecture.arch!r} is not known; use one of {known}"
    raise ModelError(msg)


def with_output_stride(architecture: Architecture, output_stride: int) -> Architecture:
    """Describe the same weights at another output stride: rates and pooling window follow it.

    Halving the stride doubles every rate, and the backbone dilates its stages instead of striding
    (DeepLabv3, section 4.1; with unchanged rates about one point of mIoU is lost).

    Raises
    ------
    ModelError
        A rate would not be a whole number.
    """
    old = architecture.output_stride
    if any(rate * old % output_stride for rate in architecture.atrous_rates):
        msg = f"rates {architecture.atrous_rates} at output stride {old} have no whole counterpart at {output_stride}"
        raise ModelError(msg)
    window = architecture.image_pooling_window
    if window is not None:
        # scale_dim of TensorFlow's core/utils.py: the crop is (window - 1) * stride + 1
        window = (window - 1) * old // output_stride + 1
    return replace(
        architecture,
        output_stride=output_stride,
        atrous_rates=tuple(rate * old // output_stride for rate in architecture.atrous_rates),
        image_pooling_window=window,
    )


def _deeplab(
    architecture: Architecture, settings: NetworkSettings, bands: int, classes: int, *, pretrained: bool
) -> nn.Module:
    backbone = build_backbone(
        architecture.backbone,
        bands,
        architecture.output_stride,
        dilation=settings.dilation,
        multi_grid=settings.multi_grid,
        pad_expansion=settings.pad_expansion,
        pad_stem=settings.pad_stem,
        stem_relu=settings.stem_relu,
        final_convolution=settings.final_convolution,
        pretrained=pretrained,
    )
    _set_batch_norm(backbone.network, None, settings.backbone_batch_norm_epsilon)
    if architecture.arch in ("deeplabv1", "deeplabv2"):
        head: nn.Module = SummedAtrousPyramid(
            backbone.channels,
            classes,
            architecture.atrous_rates,
            fully_connected=architecture.backbone == "vgg16",
        )
    else:
        head = _v3_head(architecture, settings, backbone, classes)
    _set_batch_norm(head, settings.batch_norm_momentum, None)
    return DeepLab(backbone, head, align_corners=architecture.align_corners)


def _v3_head(
    architecture: Architecture, settings: NetworkSettings, backbone: Backbone, classes: int
) -> nn.Module:
    pyramid = AtrousPyramid(
        backbone.channels,
        settings.channels,
        architecture.atrous_rates,
        separable=settings.aspp_separable,
        image_pooling=settings.image_pooling,
        window=architecture.image_pooling_window,
        dropout=settings.dropout,
    )
    refine = (
        conv_norm_relu(settings.channels, settings.channels, kernel=3, separable=settings.refine)
        if settings.refine is not None
        else None
    )
    if architecture.arch == "deeplabv3":
        return DeepLabV3Head(pyramid, settings.channels, classes, refine=refine)
    if backbone.low_channels == 0:
        msg = f"backbone {architecture.backbone!r} has no features at stride 4, which deeplabv3plus needs"
        raise ModelError(msg)
    return DeepLabV3PlusHead(
        pyramid,
        backbone.low_channels,
        classes,
        channels=settings.channels,
        low_channels=settings.low_level_channels,
        convolutions=settings.decoder_convolutions,
        separable=settings.decoder_separable,
        align_corners=architecture.align_corners,
        refine=refine,
    )


def _set_batch_norm(network: nn.Module, momentum: float | None, epsilon: float | None) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = module.momentum if momentum is None else momentum
            module.eps = module.eps if epsilon is None else epsilon
