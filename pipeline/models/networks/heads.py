"""The heads of the DeepLab family: from backbone features to class logits at feature size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segment_tiles.pipeline.models.networks.layers import (
    ImagePooling,
    ImagePoolingMode,
    SeparableStyle,
    conv_norm_relu,
    resize,
)

FC_CHANNELS = 1024
"""Width of fc6 and fc7 after the cut from 4096 (DeepLabv1 section 5.1 LargeFOV; v2 section 4.1.1)."""
FC_DROPOUT = 0.5
"""Dropout after fc6 and fc7 of VGG-16, kept by DeepLab v1 and v2."""
LOGITS_STD = 0.01
"""Standard deviation of the initial weights of the last 1x1 (v1 section 5; TensorFlow model.py)."""


class LargeFieldOfView(nn.Sequential):
    """fc6 (3x3 with a rate), fc7 (1x1), fc8 (1x1) of VGG-16 as convolutions: the whole head of v1.

    The rate is 12 at output stride 8 (DeepLab-CRF-LargeFOV, arXiv 1412.7062, section 5).
    """

    def __init__(self, channels_in: int, classes: int, rate: int):
        super().__init__(
            nn.Conv2d(channels_in, FC_CHANNELS, 3, padding=rate, dilation=rate),
            nn.ReLU(),
            nn.Dropout(FC_DROPOUT),
            nn.Conv2d(FC_CHANNELS, FC_CHANNELS, 1),
            nn.ReLU(),
            nn.Dropout(FC_DROPOUT),
            logits_layer(FC_CHANNELS, classes),
        )


class SummedAtrousPyramid(nn.Module):
    """ASPP of v2: one branch per rate, logits added, no batch norm (arXiv 1606.00915, section 3.2).

    On VGG-16 a branch is fc6-fc7-fc8 (ASPP-L: rates 6, 12, 18, 24). On ResNet-101 it is one biased 3x3
    on the 2048 channels (published prototxt; kazuto1011/deeplab-pytorch).
    """

    def __init__(self, channels_in: int, classes: int, rates: Sequence[int], *, fully_connected: bool):
        super().__init__()
        self.branches = nn.ModuleList(
            LargeFieldOfView(channels_in, classes, rate)
            if fully_connected
            else logits_layer(channels_in, classes, kernel=3, rate=rate)
            for rate in rates
        )

    def forward(self, low: Tensor, features: Tensor) -> Tensor:
        """Map features (B, channels_in, h, w) to logits (B, classes, h, w); `low` is not used."""
        return torch.stack([branch(features) for branch in self.branches]).sum(0)


class AtrousPyramid(nn.Module):
    """ASPP of v3: 1x1, one 3x3 per rate and the image-level feature; concatenated, projected by 1x1.

    arXiv 1706.05587, section 3.3: all branches 256 wide with batch norm. The order of the concatenation
    is 1x1, rates, image (torchvision, SMP, VainF, jfzhang95); TensorFlow puts the image first, which
    only permutes the weights of the projection.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        rates: Sequence[int],
        *,
        separable: SeparableStyle,
        image_pooling: ImagePoolingMode,
        window: int | None,
        dropout: float,
    ):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv_norm_relu(channels_in, channels),
                *(
                    conv_norm_relu(channels_in, channels, kernel=3, rate=rate, separable=separable)
                    for rate in rates
                ),
            ]
        )
        self.pooling = (
            None if image_pooling == "off" else ImagePooling(channels_in, channels, image_pooling, window)
        )
        joined = len(self.branches) + (self.pooling is not None)
        self.project = conv_norm_relu(joined * channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, channels_in, h, w) to (B, channels, h, w)."""
        responses = [branch(features) for branch in self.branches]
        if self.pooling is not None:
            responses.append(self.pooling(features))
        projected: Tensor = self.dropout(self.project(torch.cat(responses, dim=1)))
        return projected


class DeepLabV3Head(nn.Module):
    """ASPP, then logits by 1x1; `refine` is the extra 3x3 that torchvision, SMP and VainF put between."""

    def __init__(self, pyramid: AtrousPyramid, channels: int, classes: int, *, refine: nn.Module | None):
        super().__init__()
        self.pyramid = pyramid
        self.refine = refine if refine is not None else nn.Identity()
        self.classifier = logits_layer(channels, classes)

    def forward(self, low: Tensor, features: Tensor) -> Tensor:
        """Map features (B, channels_in, h, w) to logits (B, classes, h, w); `low` is not used."""
        logits: Tensor = self.classifier(self.refine(self.pyramid(features)))
        return logits


class DeepLabV3PlusHead(nn.Module):
    """ASPP and the decoder of v3+ (arXiv 1802.02611, section 3.1 and figure 2).

    ASPP output is brought to the size of the low-level features (stride 4), joined with 48 channels of
    them, refined by two 3x3 of 256 and classified (table 1 and 2 of the paper).
    """

    def __init__(
        self,
        pyramid: AtrousPyramid,
        low_channels_in: int,
        classes: int,
        *,
        channels: int,
        low_channels: int,
        convolutions: int,
        separable: SeparableStyle,
        align_corners: bool,
        refine: nn.Module | None,
    ):
        super().__init__()
        self.pyramid = pyramid
        self.refine = refine if refine is not None else nn.Identity()
        self.align_corners = align_corners
        self.project_low = conv_norm_relu(low_channels_in, low_channels)
        self.decoder = nn.Sequential(
            *(
                conv_norm_relu(
                    channels + low_channels if index == 0 else channels,
                    channels,
                    kernel=3,
                    separable=separable,
                )
                for index in range(convolutions)
            )
        )
        self.classifier = logits_layer(channels, classes)

    def forward(self, low: Tensor, features: Tensor) -> Tensor:
        """Map (B, low_channels_in, H, W) and (B, channels_in, h, w) to logits (B, classes, H, W)."""
        context = resize(self.refine(self.pyramid(features)), low, align_corners=self.align_corners)
        logits: Tensor = self.classifier(self.decoder(torch.cat([context, self.project_low(low)], dim=1)))
        return logits


def logits_layer(channels_in: int, classes: int, *, kernel: int = 1, rate: int = 1) -> nn.Conv2d:
    """Build the biased convolution that ends a head: no batch norm, small initial weights."""
    padding = rate * (kernel // 2)
    layer = nn.Conv2d(channels_in, classes, kernel, padding=padding, dilation=rate)
    nn.init.normal_(layer.weight, std=LOGITS_STD)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
