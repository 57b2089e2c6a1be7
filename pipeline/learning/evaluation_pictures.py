"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from segment_tiles.pipeline.learning.pictures import save_figure
from segment_tiles.pipeline.learning.scores.confusion import ConfusionMatrix

LABELLED_CELLS = 20
"""Up to this many classes each cell says its share in numbers."""


def save_confusion(path: Path, matrix: ConfusionMatrix, names: Sequence[str]) -> None:
    """Draw the shares of each true class over the mapped classes; rows add up to 100 %."""
    totals = matrix.counts.sum(axis=1, keepdims=True)
    shares = np.divide(matrix.counts, totals, out=np.zeros(matrix.counts.shape), where=totals > 0)
    side = max(4.0, 1.1 * len(names) + 2)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="map", ylabel="truth", title=f"{matrix.pixels:,} pixels, mean IoU {matrix.mean_iou:.3f}")
    if len(names) <= LABELLED_CELLS:
        for (row, column), share in np.ndenumerate(shares):
            color = "white" if share > 0.6 else "black"
            axes.text(column, row, f"{share:.1%}", ha="center", va="center", color=color)
    figure.colorbar(image, label="share of the true class")
    save_figure(figure, path)
