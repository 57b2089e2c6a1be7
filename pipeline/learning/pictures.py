"""Pictures of a training: its curve, and maps beside their labels."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from segment_tiles.pipeline.durable import write_whole
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.learning.training.validation import ValidationArea, map_of
from segment_tiles.pipeline.models.segmenter import Segmenter

SAMPLES_AT_MOST = 6
"""Most areas that the picture shows, spread evenly over all."""
MEAN_FROM = 20
"""Steps from which on a running mean of the loss is drawn over the steps."""
SHOWN_LOW, SHOWN_HIGH = 1, 99
"""Percents of the values of a sample between which its picture goes from black to white."""
SAMPLE_SIDE = 768
"""Largest side in pixels of the part of an area that a sample shows: its middle."""


def save_curve(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Draw loss and scores over the steps."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    loss_axes, score_axes = figure.subplots(1, 2)
    steps = [row for row in history if "loss" in row]
    scores = [row for row in history if "mean_iou" in row]
    loss = np.array([row["loss"] for row in steps])
    number = np.array([row["step"] for row in steps])
    has_mean = len(loss) >= MEAN_FROM
    loss_axes.plot(number, loss, color="0.8" if has_mean else "tab:blue", linewidth=0.6, label="each step")
    if has_mean:
        span = max(5, len(loss) // 50)
        mean = np.convolve(loss, np.ones(span) / span, mode="valid")
        loss_axes.plot(number[span - 1 :], mean, color="tab:blue", label=f"mean of {span}")
    loss_axes.set(xlabel="step", ylabel="loss", title="Training")
    loss_axes.legend()
    for name in [key for key in (scores[0] if scores else {}) if key != "step"]:
        values = [row[name] for row in scores]
        label = name.replace("mean_iou", "mean IoU").replace("iou ", "IoU ")
        score_axes.plot([row["step"] for row in scores], values, marker=".", label=label)
    score_axes.set(xlabel="step", ylabel="IoU", ylim=(0, 1), title="Held-out areas")
    score_axes.set_xlim(loss_axes.get_xlim())
    if scores:
        score_axes.legend()
    save_figure(figure, path)


def save_samples(path: Path, areas: Sequence[ValidationArea], segmenter: Segmenter) -> None:
    """Draw the middle of each area, its labels and its map side by side."""
    step = -(-len(areas) // SAMPLES_AT_MOST)
    areas = areas[::step]
    figure = Figure(figsize=(12, 4.3 * len(areas) + 0.5), layout="constrained")
    rows = figure.subplots(len(areas), 3, squeeze=False)
    for axes, area in zip(rows, areas, strict=True):
        part = ValidationArea(area.scene, _middle(area.window))
        values = part.scene.source.read(part.window)
        picture = _stretched(values)
        labels = part.scene.labels.read(part.window)
        _show(axes[0], picture, part.name)
        _show(axes[1], colored(labels, segmenter.classes), "labels")
        _show(axes[2], colored(map_of(part, segmenter), segmenter.classes), "map")
    _name_colors(figure, segmenter.classes)
    save_figure(figure, path)


def colored(codes: NDArray[np.uint8], table: ClassTable) -> NDArray[np.uint8]:
    """Return rows x columns x 3 colours of class codes; black if there is no class."""
    palette = np.zeros((IGNORE_CODE + 1, 3), dtype=np.uint8)
    for entry in table.classes:
        palette[entry.code] = entry.color
    return palette[codes]


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG that appears complete or not at all."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=100, format="png")
    write_whole(path, picture.getvalue())


def _middle(window: Window) -> Window:
    height, width = min(window.height, SAMPLE_SIDE), min(window.width, SAMPLE_SIDE)
    row = window.row + (window.height - height) // 2
    column = window.column + (window.width - width) // 2
    return Window(row, column, height, width)


def _stretched(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return a picture of the first three bands, or of the first alone, without the outermost percents."""
    shown = values[[0, 1, 2] if values.shape[0] >= 3 else [0, 0, 0]].astype(np.float64)
    low, high = np.nanpercentile(shown, [SHOWN_LOW, SHOWN_HIGH], axis=(1, 2), keepdims=True)
    share = (shown - low) / np.maximum(high - low, 1e-12)
    return np.asarray((np.nan_to_num(share).clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


def _name_colors(figure: Figure, table: ClassTable) -> None:
    """Say below the pictures which colour is which class."""
    named = [
        (f"#{red:02x}{green:02x}{blue:02x}", c.name) for c in table.classes for red, green, blue in [c.color]
    ]
    handles = [
        Patch(facecolor=color, edgecolor="0.5", label=name) for color, name in [*named, ("black", "no label")]
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)


def _show(axes: Axes, picture: NDArray[np.uint8], title: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()
