"""Things of one window on the ground of another (copy and paste, 2012.07177), with soft and ragged edges.

::

    a window            another one         what is trained on
    +----------+        +----------+        +----------+
    | .  .  .  |        |#  oo  ## |        | .  oo .  |
    |.  oo .   |   +    | # oo #   |   ->   |.  oooo   |
    | . oo   . |        |  #  # oo |        | . oo  oo |
    +----------+        +----------+        +----------+
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segment_tiles.pipeline.learning.recoloring import nearest_labels, ragged_share


def paste(
    values: Tensor, labels: Tensor, other: tuple[Tensor, Tensor], code: int, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return a window with the pixels of one class of another one, where they lie there.

    Parameters
    ----------
    values, labels
        bands x side x side, and side x side codes.
    other
        Values and labels of the window that is pasted from; what has no label there goes with the nearest that has one,
        and is pasted without a label.
    code
        Class that is pasted.
    random
        Draws the edge.
    """
    other_values, other_labels = other
    inside = torch.from_numpy(nearest_labels(other_labels.numpy()) == code)
    share = torch.from_numpy(ragged_share(inside.numpy(), random))
    return torch.lerp(values, other_values, share), torch.where(inside, other_labels, labels)
