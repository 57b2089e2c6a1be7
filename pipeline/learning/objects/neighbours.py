r"""Weights of pixels between near objects, as the U-Net paper has them (1505.04597, equation 2).

::

    w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))

    object 1  |<--- d1 --->x<- d2 ->|  object 2

d1 is the distance to the nearest object, d2 that to the second nearest; w0 is 10 and sigma about 5 pixels in the paper.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects

REACH_IN_SIGMAS = 4
"""Objects farther away than this count as none: there the weight would be 0.0003 of w0 at most."""


def reach_of(sigma: float) -> int:
    """Return how many pixels around it the weight of a pixel depends on."""
    return math.ceil(REACH_IN_SIGMAS * sigma)


def neighbour_weights(numbers: NDArray[np.int64], w0: float, sigma: float) -> NDArray[np.float32]:
    """Return the second part of w, without w_c.

    Parameters
    ----------
    numbers
        rows x columns; 0: no object.
    w0, sigma
        Of the equation; sigma in pixels.

    Notes
    -----
    Distances are to the pixels of an object, 0 inside it. The paper's cells never touch; if objects do, the sum of
    both distances is that to the neighbour, so weights are highest along the line where they meet.
    """
    reach = reach_of(sigma)
    nearest = np.full(numbers.shape, np.inf)
    second = np.full(numbers.shape, np.inf)
    known = np.unique(np.append(numbers.ravel(), 0))
    ranks = np.searchsorted(known, numbers)  # gaps between numbers would cost find_objects memory
    for rank, box in enumerate(find_objects(ranks), 1):
        around = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in box)
        distance = distance_transform_edt(ranks[around] != rank)
        distance[distance > reach] = np.inf
        np.minimum(second[around], np.maximum(nearest[around], distance), out=second[around])
        np.minimum(nearest[around], distance, out=nearest[around])
    weights: NDArray[np.float32] = (w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))).astype(
        np.float32
    )
    return weights
