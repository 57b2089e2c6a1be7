"""DRN-D-54, the dilated residual network that jfzhang95 takes as a backbone."""

from __future__ import annotations

from torch import Tensor, nn

LOW_CHANNELS = 256
"""Channels of layer3, at stride 4."""
CHANNELS = 512
"""Channels of layer8, at stride 8."""


class DilatedResNet54(nn.Module):
    """DRN-D-54: no max pool, stride 8 by construction, and two plain convolutions against gridding.

    Its names are jfzhang95's. Every block of a stage has the stage's rate, the first one too.
    """

    def __init__(self, bands: int):
        super().__init__()
        self.layer0 = _convolution(bands, 16, kernel=7)
        self.layer1 = _convolution(16, 16)
        self.layer2 = _convolution(16, 32, stride=2)
        # modeling/backbone/drn.py, drn_d_54; fyu/drn; the family: arXiv 1705.09914
        self.layer3 = _bottlenecks(32, 64, 3, stride=2)
        self.layer4 = _bottlenecks(256, 128, 4, stride=2)
        self.layer5 = _bottlenecks(512, 256, 6, rate=2)
        self.layer6 = _bottlenecks(1024, 512, 3, rate=4)
        self.layer7 = _convolution(2048, CHANNELS, rate=2)
        self.layer8 = _convolution(CHANNELS, CHANNELS)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, bands, H, W) to (B, 256, H / 4, W / 4) and (B, 512, H / 8, W / 8)."""
        low: Tensor = self.layer3(self.layer2(self.layer1(self.layer0(image))))
        features: Tensor = self.layer6(self.layer5(self.layer4(low)))
        return [low, self.layer8(self.layer7(features))]


def _convolution(
    channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1, rate: int = 1
) -> nn.Sequential:
    padding = kernel // 2 * rate
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding, dilation=rate, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def _bottlenecks(
    channels_in: int, planes: int, count: int, *, stride: int = 1, rate: int = 1
) -> nn.Sequential:
    from timm.models.resnet import Bottleneck, downsample_conv  # noqa: PLC0415 - see backbones._timm_model

    channels = planes * Bottleneck.expansion
    shortcut = downsample_conv(channels_in, channels, 1, stride=stride)
    first = Bottleneck(channels_in, planes, stride, shortcut, dilation=rate, first_dilation=rate)
    others = (Bottleneck(channels, planes, dilation=rate, first_dilation=rate) for _ in range(count - 1))
    return nn.Sequential(first, *others)
