"""Layers that the DeepLab heads share: convolutions, image pooling, resizing."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

SeparableStyle = Literal["none", "plain", "batch_norm_relu"]
ImagePoolingMode = Literal["global", "window", "off"]


def resize(image: Tensor, like: Tensor, *, align_corners: bool) -> Tensor:
    """Resize (B, C, h, w) bilinearly to the height and width of `like`.

    The size is taken from a tensor, never from a number, so that an exported graph follows its input.
    """
    return F.interpolate(image, size=like.shape[-2:], mode="bilinear", align_corners=align_corners)


def refuse_tracing(image: Tensor, what: str) -> None:
    """Raise TypeError where torch.fx traces a forward that decides by what its values are.

    MONAI's U-Net joins its skip connections only if ``isinstance(x, Tensor)``: traced, it would lose them.
    """
    value: object = image
    if isinstance(value, fx.Proxy):
        msg = f"{what} cannot be traced"
        raise TypeError(msg)


class ImageBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that also trains where every channel holds a single value.

    A globally pooled image of a batch of one has one value per channel: it has no variance to
    normalise by, and torch raises. Here its running statistics are used, and left as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, h, w)."""
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(input)


def conv_norm_relu(
    channels_in: int,
    channels_out: int,
    *,
    kernel: int = 1,
    rate: int = 1,
    separable: SeparableStyle = "none",
) -> nn.Sequential:
    """Build convolution, batch norm, ReLU that keeps height and width.

    `separable` splits the convolution into depthwise and pointwise, ``batch_norm_relu`` with batch norm
    and ReLU after the depthwise one as in the TensorFlow DeepLab head (core/utils.py,
    split_separable_conv2d), ``plain`` without.
    """
    padding = rate * (kernel // 2)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if separable == "none":
        layers["conv"] = nn.Conv2d(
            channels_in, channels_out, kernel, padding=padding, dilation=rate, bias=False
        )
    else:
        layers["depthwise"] = nn.Conv2d(
            channels_in, channels_in, kernel, padding=padding, dilation=rate, groups=channels_in, bias=False
        )
        if separable == "batch_norm_relu":
            layers["depthwise_norm"] = nn.BatchNorm2d(channels_in)
            layers["depthwise_relu"] = nn.ReLU()
        layers["conv"] = nn.Conv2d(channels_in, channels_out, 1, bias=False)
    layers["norm"] = nn.BatchNorm2d(channels_out)
    layers["relu"] = nn.ReLU()
    return nn.Sequential(layers)


def mean_of_window(features: Tensor, window: int) -> Tensor:
    """Return at every feature pixel the mean over the window around it, (B, C, h, w) -> (B, C, h, w).

    Only features inside the tile count, so that zeros beyond its edge do not darken the mean::

        tile edge
        |  . . . . . . . . . .        window 5: o is the pixel, # its window
        |  # # # o # .                in the interior (window - 1) / 2 to each side,
        |o # # . . .                  at the edge what is left of it

    A pixel further than half a window from the edge sees the same window in every tile that holds it.
    Means of rows of means equal the mean of the rectangle: every row of a window has the same length.
    """
    half = window // 2
    rows = F.avg_pool2d(features, (window, 1), stride=1, padding=(half, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, window), stride=1, padding=(0, half), count_include_pad=False)


class ImagePooling(nn.Module):
    """Image-level feature of ASPP: pooled features, 1x1 convolution, batch norm, ReLU.

    ``global`` averages the whole tile (DeepLabv3, section 3.3). ``window`` averages a window of fixed
    size around each feature pixel, the way of the TensorFlow code, whose window is the training crop
    divided by the output stride (flag image_pooling_crop_size; 513 at 16 gives 33).
    """

    def __init__(self, channels_in: int, channels_out: int, mode: ImagePoolingMode, window: int | None):
        super().__init__()
        self.mode = mode
        self.window = window
        self.conv = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.norm = ImageBatchNorm2d(channels_out)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, channels_in, h, w) to (B, channels_out, h, w)."""
        # mean and 1x1 convolution are linear and commute: the order with fewer numbers to add is taken
        if self.mode == "global":
            pooled = self.conv(features.mean((2, 3), keepdim=True))
        else:
            assert self.window is not None  # checked where the architecture is parsed
            pooled = mean_of_window(self.conv(features), self.window)
        image: Tensor = torch.relu(self.norm(pooled))
        return image.expand(-1, -1, features.shape[2], features.shape[3])
