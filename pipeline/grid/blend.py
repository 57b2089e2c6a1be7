"""Blend weights: positive separable windows over a tile, and the running mean that they give.

A pixel where several tiles overlap gets the weighted mean of their scores. Written as a running
mean, in lattice order, it needs no map of weight sums and no division at the end::

    mean_1 = p_1        mean_k = mean_(k-1) + r_k * (p_k - mean_(k-1))        r_k = w_k / (w_1 + ... + w_k)

The window is a product of one vector per axis, so the mean is taken along x first and along y
after; r_k is a vector per axis. Scores that agree give themselves back exactly, bit for bit,
because their difference is 0 (law: constant in, the same constant out).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.accepted import BLENDS
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.lattice import LatticeAxis

GAUSSIAN_SIGMA = 0.125
"""Standard deviation as a fraction of the tile side: the value of MONAI and nnU-Net."""
GAUSSIAN_FLOOR = 1e-3
"""Smallest weight, so that a pixel seen by one far corner alone still gets its score."""


def blend_weights(blend: str, tile: int, overlap: int) -> NDArray[np.float64]:
    """Return the weights along one side of a tile, positive, ``tile`` values.

    Raises
    ------
    UsageError
        If ``blend`` is no known name. ``crop`` is refused here too: it is not a weight but a cut.
    """
    position = np.arange(tile) + 0.5
    if blend == "gaussian":
        distance = (position - tile / 2) / (GAUSSIAN_SIGMA * tile)
        return np.asarray(np.maximum(np.exp(-0.5 * distance**2), GAUSSIAN_FLOOR))
    if blend == "hann":
        return np.asarray(np.sin(np.pi * position / tile) ** 2)
    if blend == "linear":
        ramp = np.minimum(position, tile - position)
        return np.asarray(np.minimum(ramp / max(overlap, 1), 1.0))
    msg = f"--blend is {blend!r}; it must be one of {', '.join(BLENDS)}"
    raise UsageError(msg)


def overlap_ratios(blend: str, axis: LatticeAxis, index: int) -> NDArray[np.float32]:
    """Return r_k for the first pixels of a tile's scores, which it shares: how much it moves the mean so far.

    The pixels after those are seen by this tile first, so its scores are taken as they are.

    ::

        tile index-1  |------------------|
        tile index              |------------------|
                                |<- r_k ->|<- 1 -->|

    ``crop`` takes the earlier tile on the first half of the overlap and this one on the second.
    """
    overlap = axis.shared
    if blend == "crop":
        return (np.arange(overlap) >= overlap // 2).astype(np.float32)
    weights = blend_weights(blend, axis.scored, overlap)
    own = weights[:overlap]
    before = np.zeros(overlap)
    for back in range(1, index + 1):
        shift = back * axis.stride
        if shift >= axis.scored:
            break
        earlier = weights[shift : shift + overlap]
        before[: len(earlier)] += earlier
    return (own / (own + before)).astype(np.float32)
