"""What a network costs and how far it looks: multiply-adds and reach."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.packages.manifest import Architecture

EFFECTIVE_SHARE = 0.99
"""Share of the gradient that lies within the effective reach."""
_STRIP_ROWS = 64
_MULTIPLY_ADD_FLOPS = 2


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the pixels lie that decide one output pixel, measured on the network itself."""

    effective: int
    """Pixels to each side that hold 99 % of the gradient magnitude of a column of logits."""
    furthest: int
    """Pixels to the furthest input column with any gradient; the width measured bounds it."""
    measured: int
    """Pixels to each side that were looked at."""


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(architecture: Architecture, bands: int, classes: int, height: int, width: int) -> int:
    """Return the multiply-adds of the convolutions and matrix products for one image.

    Computed on shapes alone; the papers count the same (table 5 of DeepLabv3+, "Multiply-Adds").
    """
    # built with values, then without: SegFormer's constructor reads numbers from a tensor, and meta has none
    network = build_network(architecture, bands, classes).eval().to("meta")
    image = torch.empty(1, bands, height, width, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops()) // _MULTIPLY_ADD_FLOPS


def measure_reach(network: nn.Module, bands: int, side: int) -> Reach:
    """Measure how far a network looks, along a strip of noise.

    The sum of the logits of the middle column is differentiated by the input::

        |<------------ measured ------------>|<--------- ... -------->|
                   |<------ effective ------>| 99 % of the gradient
        ------------------------------------- o -----------------------  strip of 64 rows or more

    A strip shows the reach along columns at a fraction of the cost of a square; rows reach as far,
    because kernels and rates are square. The effective reach depends on the weights, so it is measured,
    not computed; global pooling makes `furthest` as large as the strip.

    Parameters
    ----------
    network
        In evaluation mode, on the CPU.
    bands
        Input channels.
    side
        Side of the model's tile in pixels; the strip is four tiles long, two to each side.
    """
    width = 4 * side + 1
    generator = torch.Generator().manual_seed(0)
    rows = max(_STRIP_ROWS, getattr(network, "smallest_side", 1))
    image = torch.randn(1, bands, rows, width, generator=generator, requires_grad=True)
    middle = width // 2
    network(image)[..., middle].sum().backward()
    assert image.grad is not None
    columns = image.grad.abs().sum((0, 1, 2)).double()
    distance = (torch.arange(width) - middle).abs()
    by_distance = torch.zeros(middle + 1, dtype=torch.float64).index_add_(0, distance, columns)
    share = by_distance.cumsum(0) / by_distance.sum()
    touched = torch.nonzero(by_distance > 0)
    return Reach(
        effective=int(torch.searchsorted(share, EFFECTIVE_SHARE)),
        furthest=int(touched.max()) if len(touched) else 0,
        measured=middle,
    )
