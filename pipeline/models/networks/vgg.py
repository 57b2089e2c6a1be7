"""VGG-16 as DeepLab v1 and v2 change it: later pools keep the size, later convolutions are dilated."""

from __future__ import annotations

from torch import Tensor, nn

VGG16_CHANNELS = 512
"""Channels of conv5."""

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Widths of conv1 to conv5 (Simonyan and Zisserman, arXiv 1409.1556, configuration D)."""
_POOL = 3
"""DeepLab pools 3x3 with padding 1 instead of 2x2 (its prototxt), so sizes follow ceil(n / 2)."""


class AtrousVGG16(nn.Module):
    """The 13 convolutions of VGG-16 with an output stride of 8, 16 or 32.

    At 8, as in the papers (arXiv 1412.7062, section 3.1), pool4 and pool5 have stride 1 and conv5 has
    rate 2. ``features.N`` is numbered as in timm's and torchvision's vgg16, whose weights fit.
    """

    def __init__(self, bands: int, output_stride: int):
        super().__init__()
        layers: list[nn.Module] = []
        channels, stride, rate = bands, 1, 1
        for widths in _STAGES:
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=rate, dilation=rate), nn.ReLU()]
                channels = width
            step = 2 if stride < output_stride else 1
            layers.append(nn.MaxPool2d(_POOL, stride=step, padding=_POOL // 2))
            stride, rate = stride * step, rate * (2 // step)
        if output_stride == 8:
            # pool5a of the LargeFOV prototxt: smooths where pool5 no longer shrinks
            self.smooth: nn.Module = nn.AvgPool2d(_POOL, stride=1, padding=_POOL // 2)
        else:
            self.smooth = nn.Identity()
        self.features = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, bands, H, W) to one feature map (B, 512, h, w)."""
        return [self.smooth(self.features(image))]
