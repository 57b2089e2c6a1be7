"""Statistics of the valid values of a tile, which no number of threads, tiles of a batch or device changes.

Torch sums in an order that depends on its threads. Here halves are added to halves, value by value, until one is left::

    a b c d e f g     a+e b+f c+g d     a+e+c+g b+f+d     a+e+c+g+b+f+d

in float64, so that the order is that of the number of pixels alone. Percentiles lie between sorted values, as NumPy's
``linear`` ones do.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from segment_tiles.pipeline.models.scaling.scaling import SMALLEST, Operation

UNKNOWN_SCALE: Final = 1.0
"""Divisor in place of 0: a band of one value becomes 0 everywhere, as in MONAI's NormalizeIntensity."""


def tile_numbers(operation: Operation, image: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the two numbers of a measured operation: what is taken away, and what is divided by; or two limits.

    Parameters
    ----------
    operation
        With statistics of scene or tile.
    image
        (batch, bands, rows, columns), float32.
    valid
        (batch, 1 or bands, rows, columns) bool: values that count; None: all.

    Returns
    -------
    tuple
        (batch, 1 or bands, 1, 1) float32 each. A band without a valid value has 0 and 1.
    """
    pairs = [
        _numbers_of_one(operation, image[n], None if valid is None else valid[n].expand_as(image[n]))
        for n in range(len(image))
    ]
    first, second = (
        torch.stack(numbers).to(torch.float32)[:, :, None, None] for numbers in zip(*pairs, strict=True)
    )
    return first, second


def _numbers_of_one(operation: Operation, image: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    rows = 1 if operation.over == "all" else len(image)
    values = image.reshape(rows, -1)
    mask = None if valid is None else valid.reshape(rows, -1)
    if operation.type == "z-score":
        mean = mean_of(values, mask)
        return mean, _divisor(_deviation(values, mask, mean))
    low, high = _limits(operation, values, mask)
    return (low, high) if operation.type == "clip" else (low, _divisor(high - low))


def mean_of(values: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean of every row, float64; 0 if none of its values is valid."""
    wide = values.to(torch.float64, copy=True)
    return _sum(wide if valid is None else wide.masked_fill_(~valid, 0.0)) / _count(values, valid)


def _deviation(values: Tensor, valid: Tensor | None, mean: Tensor) -> Tensor:
    """Return the root of the mean square distance from the mean (``numpy.std``), float64."""
    square = values.to(torch.float64, copy=True).sub_(mean[:, None]).square_()
    return (
        _sum(square if valid is None else square.masked_fill_(~valid, 0.0)) / _count(values, valid)
    ).sqrt()


def _count(values: Tensor, valid: Tensor | None) -> Tensor:
    """Return how many values of every row are valid, at least 1, float64."""
    if valid is None:
        return torch.full((len(values),), float(values.shape[1]), dtype=torch.float64, device=values.device)
    return valid.sum(1).clamp_(min=1).to(torch.float64)


def _sum(values: Tensor) -> Tensor:
    """Return the sum of every row in an order that its length alone decides; the values are used up."""
    length = values.shape[1]
    while length > 1:
        half = (length + 1) // 2
        values[:, : length - half] += values[:, half:length]
        length = half
    return values[:, 0].clone()


def _limits(operation: Operation, values: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest valid value of every row, or two percentiles, float64; 0 if there is none."""
    low, high = operation.percentiles or (0.0, 100.0)
    if (low, high) == (0.0, 100.0):
        found = (
            (values if valid is None else values.masked_fill(~valid, torch.inf)).amin(1),
            (values if valid is None else values.masked_fill(~valid, -torch.inf)).amax(1),
        )
    else:
        ranked = (values if valid is None else values.masked_fill(~valid, torch.inf)).sort(dim=1).values
        count = _count(values, valid)
        found = _percentile(ranked, count, low), _percentile(ranked, count, high)
    least, largest = (numbers.to(torch.float64) for numbers in found)
    nothing = least.isinf()
    return least.masked_fill(nothing, 0.0), largest.masked_fill(nothing, 0.0)


def _percentile(ranked: Tensor, count: Tensor, percent: float) -> Tensor:
    position = (count - 1) * (percent / 100)
    below = position.floor()
    above = torch.minimum(below + 1, count - 1)
    lower, upper = (
        ranked.gather(1, index.long()[:, None])[:, 0].to(torch.float64) for index in (below, above)
    )
    return lower + (upper - lower) * (position - below)


def _divisor(numbers: Tensor) -> Tensor:
    # as float32, in which it divides: what is 0 there would give infinity, and what is infinite there no numbers
    held = numbers.clamp(max=torch.finfo(torch.float32).max)
    return held.masked_fill(held.to(torch.float32) < SMALLEST, UNKNOWN_SCALE)
