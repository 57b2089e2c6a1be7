"""The Xceptions of jfzhang95 and VainF: two functions under one name, and neither is timm's.

Both are chains of blocks: separable convolutions with batch norms, beside a shortcut::

    x --+--> ReLU, depthwise 3x3, pointwise 1x1, batch norm; two or three times --+--> next block
        |                                                                         |
        +--> shortcut: a 1x1 and batch norm where width or stride change ---------+

                                   jfzhang95 (modeling/backbone/     VainF (network/backbone/
                                   xception.py)                      xception.py)
    batch norm after depthwise     yes                               no
    the shortcut sees              x after the ReLU: it is in place  x itself
    stride                         of a block's last depthwise       of a max pool at a block's end
    middle blocks                  16                                8
    low-level features             block 1 after ReLU                block 1
    last features                  after batch norm and ReLU         of the pointwise 1x1, no batch norm
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from segment_tiles.pipeline.errors import ModelError

LOW_CHANNELS = 128
"""Channels of block 1, at stride 4."""
CHANNELS = 2048
"""Channels of the last features."""
_MIDDLE_CHANNELS = 728


class AlignedXception(nn.Module):
    """The aligned Xception of jfzhang95/pytorch-deeplab-xception, at output stride 8 or 16.

    Its names follow his: ``blocks.N`` is his ``blockN``, ``exit`` his conv3 to conv5.
    """

    def __init__(self, bands: int, output_stride: int):
        super().__init__()
        # his rates at 8 are those at 16 twice over, but for the last unit of block 20, which keeps 1
        rate, step = (1, 2) if output_stride == 16 else (2, 1)
        self.stem = _stem(bands, padding=1)
        middle = (_MIDDLE_CHANNELS,) * 3
        self.blocks = nn.ModuleDict(
            {
                "1": _aligned_block(64, (128, 128, 128), stride=2),
                "2": _aligned_block(128, (256, 256, 256), stride=2),
                "3": _aligned_block(256, middle, stride=step),
                **{str(number): _aligned_block(728, middle, (rate,) * 3) for number in range(4, 20)},
                "20": _aligned_block(728, (728, 1024, 1024), (rate, rate, 1)),
            }
        )
        widths = (1024, 1536, 1536, CHANNELS)
        self.exit = nn.ModuleList(
            _unit(before, after, rate=2 * rate, norm_between=True) for before, after in pairwise(widths)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, bands, H, W) to (B, 128, H / 4, W / 4) and (B, 2048, H / stride, W / stride)."""
        features = self.stem(image)
        low = features
        for number, block in self.blocks.items():
            features = block(features)
            if number == "1":
                low = features = torch.relu(features)
        features = torch.relu(features)
        for unit in self.exit:
            features = torch.relu(unit(features))
        return [low, features]


class PlainXception(nn.Module):
    """VainF's Xception (Chollet, arXiv 1610.02357, with rates), at output stride 8 or 16.

    Its names follow his: ``blocks.N`` is his ``blockN``, ``exit`` his conv3 and conv4. The stem has no
    padding. The last two convolutions are padded by 1 whatever their rate is, so that features lose
    `rate` - 1 at each edge, twice; the head stretches what is left over the whole tile.
    """

    def __init__(self, bands: int, output_stride: int):
        super().__init__()
        self.size = SmallestSide("VainF's Xception", smallest_side(output_stride))
        self.stem = _stem(bands, padding=0)
        step, rate = (1, 2) if output_stride == 8 else (2, 1)
        middle = (_MIDDLE_CHANNELS,) * 3
        blocks = {
            "1": _plain_block(64, (128, 128), 1, stride=2),
            "2": _plain_block(128, (256, 256), 1, stride=2),
            "3": _plain_block(256, (728, 728), rate, stride=step),
            **{str(number): _plain_block(728, middle, rate) for number in range(4, 12)},
        }
        rate *= 2
        self.blocks = nn.ModuleDict({**blocks, "12": _plain_block(728, (728, 1024), rate)})
        self.exit = nn.ModuleList(
            [
                _unit(1024, 1536, rate=rate, padding=1, norm_between=False),
                _unit(1536, CHANNELS, rate=rate, padding=1, norm_between=False, norm=False),
            ]
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, bands, H, W) to (B, 128, ~H / 4, ~W / 4) and (B, 2048, < H / stride, < W / stride)."""
        features = self.stem(self.size(image))
        low = features
        for number, block in self.blocks.items():
            features = block(features)
            low = features if number == "1" else low
        return [low, self.exit[1](torch.relu(self.exit[0](features)))]


class XceptionBlock(nn.Module):
    """Units with ReLUs before them, shrunk, plus the shortcut.

    `activate_shortcut` says whether the shortcut sees its input after the first ReLU.
    """

    def __init__(
        self, units: Sequence[nn.Module], shrink: nn.Module, shortcut: nn.Module, *, activate_shortcut: bool
    ):
        super().__init__()
        self.units = nn.ModuleList(units)
        self.shrink = shrink
        self.shortcut = shortcut
        self.activate_shortcut = activate_shortcut

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, D, h / stride, w / stride)."""
        activated = found = torch.relu(features)
        for index, unit in enumerate(self.units):
            found = unit(found if index == 0 else torch.relu(found))
        beside: Tensor = self.shortcut(activated if self.activate_shortcut else features)
        shrunk: Tensor = self.shrink(found)
        return shrunk + beside


class SmallestSide(nn.Module):
    """Refuse images of which the network would leave nothing; a module of its own, so that graphs can be traced."""

    def __init__(self, what: str, pixels: int):
        super().__init__()
        self.what = what
        self.pixels = pixels

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, bands, H, W) as it is.

        Raises
        ------
        ModelError
            H or W is too small.
        """
        height, width = image.shape[-2:]
        if min(height, width) < self.pixels:
            msg = f"a tile of {height} x {width} px is too small for {self.what}; it needs {self.pixels} px or more"
            raise ModelError(msg)
        return image


def smallest_side(output_stride: int) -> int:
    """Return the side in pixels below which nothing is left of the features of VainF's Xception.

    >>> smallest_side(8), smallest_side(16)
    (103, 71)
    """
    rate = 32 // output_stride
    features = 4 * (rate - 1) + 1  # one pixel after the last two convolutions
    at_stem = (features - 1) * output_stride // 2 + 1
    return 2 * (at_stem + 2) + 1  # unpadded: 3x3 with stride 2, then 3x3


def _stem(bands: int, *, padding: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(bands, 32, 3, stride=2, padding=padding, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=padding, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
    )


def _aligned_block(
    channels_in: int, widths: tuple[int, ...], rates: tuple[int, ...] = (1, 1, 1), *, stride: int = 1
) -> XceptionBlock:
    channels = (channels_in, *widths)
    steps = (1,) * (len(widths) - 1) + (stride,)
    units = [
        _unit(channels[i], channels[i + 1], rate=rates[i], stride=steps[i], norm_between=True)
        for i in range(len(widths))
    ]
    return XceptionBlock(
        units, nn.Identity(), _shortcut(channels_in, widths[-1], stride), activate_shortcut=True
    )


def _plain_block(channels_in: int, widths: tuple[int, ...], rate: int, *, stride: int = 1) -> XceptionBlock:
    channels = (channels_in, *widths)
    units = [_unit(channels[i], channels[i + 1], rate=rate, norm_between=False) for i in range(len(widths))]
    shrink = nn.MaxPool2d(3, stride, padding=1) if stride > 1 else nn.Identity()
    return XceptionBlock(units, shrink, _shortcut(channels_in, widths[-1], stride), activate_shortcut=False)


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if channels_in == channels_out and stride == 1:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
    )


def _unit(
    channels_in: int,
    channels_out: int,
    *,
    rate: int,
    norm_between: bool,
    stride: int = 1,
    padding: int | None = None,
    norm: bool = True,
) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["depthwise"] = nn.Conv2d(
        channels_in,
        channels_in,
        3,
        stride=stride,
        padding=rate if padding is None else padding,
        dilation=rate,
        groups=channels_in,
        bias=False,
    )
    if norm_between:
        layers["depthwise_norm"] = nn.BatchNorm2d(channels_in)
    layers["conv"] = nn.Conv2d(channels_in, channels_out, 1, bias=False)
    if norm:
        layers["norm"] = nn.BatchNorm2d(channels_out)
    return nn.Sequential(layers)
