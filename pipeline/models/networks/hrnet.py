"""HRNetV2 as VainF uses it: timm's high-resolution network, its four branches joined at stride 4."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segment_tiles.pipeline.models.networks.layers import resize

LOW_CHANNELS = 256
"""Channels of layer1, at stride 4."""


def joined_channels(width: int) -> int:
    """Return the channels of the four branches together: 1, 2, 4 and 8 times the first one's.

    >>> joined_channels(32)
    480
    """
    return 15 * width


class HighResolutionFeatures(nn.Module):
    """Stem and stages of timm's ``hrnet_w*``, with its names; the branches joined (arXiv 1904.04514).

    timm returns the branches themselves, and not the output of layer1, which VainF takes for low-level
    features (network/modeling.py, _segm_hrnet; network/utils.py, hrnet_flag). If a coarser branch is
    added to a finer one it takes that one's size, so that sides need not be multiples of 32; if they
    are, that is the plain doubling of timm and VainF.

    `stem_relu` False leaves out the ReLU between the two convolutions of the stem: VainF's layer getter
    runs modules in the order in which they were made, and one ReLU was made for both, after the second.
    """

    def __init__(self, network: Any, *, stem_relu: bool = True):
        super().__init__()
        self.stem_relu = stem_relu
        self.conv1: nn.Module = network.conv1
        self.bn1: nn.Module = network.bn1
        self.conv2: nn.Module = network.conv2
        self.bn2: nn.Module = network.bn2
        self.layer1: nn.Module = network.layer1
        self.transition1: nn.ModuleList = network.transition1
        self.stage2: nn.Sequential = network.stage2
        self.transition2: nn.ModuleList = network.transition2
        self.stage3: nn.Sequential = network.stage3
        self.transition3: nn.ModuleList = network.transition3
        self.stage4: nn.Sequential = network.stage4
        for exchange in (*self.stage2, *self.stage3, *self.stage4):
            fusions: Any = exchange.fuse_layers
            for target, layers in enumerate(fusions):
                for source in range(target + 1, len(layers)):
                    layers[source] = layers[source][:2]  # convolution and batch norm, without the doubling

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, bands, H, W) to (B, 256, H / 4, W / 4) and (B, 15 width, H / 4, W / 4)."""
        half = self.bn1(self.conv1(image))
        if self.stem_relu:
            half = torch.relu(half)
        low: Tensor = self.layer1(torch.relu(self.bn2(self.conv2(half))))
        branches = [transition(low) for transition in self.transition1]
        branches = _run_stage(self.stage2, branches)
        branches = _run_stage(self.stage3, [*branches, self.transition2[-1](branches[-1])])
        branches = _run_stage(self.stage4, [*branches, self.transition3[-1](branches[-1])])
        finest = branches[0]
        coarser = [resize(branch, finest, align_corners=False) for branch in branches[1:]]
        return [low, torch.cat([finest, *coarser], dim=1)]


def _run_stage(stage: nn.Module, branches: Sequence[Tensor]) -> list[Tensor]:
    for exchange in stage.children():
        branches = _exchange(exchange, branches)
    return list(branches)


def _exchange(exchange: Any, branches: Sequence[Tensor]) -> list[Tensor]:
    """Run every branch by itself, then add to each what the others say."""
    branches = [layers(branch) for layers, branch in zip(exchange.branches, branches, strict=True)]
    fused = []
    for target, layers in enumerate(exchange.fuse_layers):
        parts = [
            _enlarge(layer(branches[source]), branches[target])
            if source > target
            else layer(branches[source])
            for source, layer in enumerate(layers)
        ]
        fused.append(torch.relu(reduce(operator.add, parts)))
    return fused


def _enlarge(coarse: Tensor, fine: Tensor) -> Tensor:
    return F.interpolate(coarse, size=fine.shape[-2:], mode="nearest")
