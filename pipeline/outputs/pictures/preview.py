"""``preview.png``: scene and class map side by side, with legend, area shares and scale bar.

::

    +----------------------------------------------------------+
    | title                                                    |
    | subtitle                                                 |
    | Scene               Class map             Classes        |
    | +---------------+   +---------------+     [] name   43 % |
    | |               |   |               |     [] name    7 % |
    | | |---| 50 m    |   |               |     [/] no data    |
    | +---------------+   +---------------+                    |
    +----------------------------------------------------------+

Every part is placed in pixels, so nothing overlaps, whatever the shape of the raster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.outputs.pictures.preview_legend import LegendRow, draw_legend, legend_rows
from segment_tiles.pipeline.outputs.pictures.scale_bar import round_scale_bar

DPI: Final = 100
PANEL_WIDTH: Final = 602
PANEL_HEIGHT_AT_MOST: Final = 900
MARGIN: Final = 28
GAP: Final = 20
LEGEND_WIDTH: Final = 300
TITLE_HEIGHT: Final = 84
CAPTION_HEIGHT: Final = 30
INK: Final = "#1f2933"
FAINT_INK: Final = "#616e7c"
NODATA_COLORS: Final = ((232, 232, 232), (208, 208, 208))
"""Stripes that stand for pixels without class."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes in pixels of the finished picture."""

    panel_width: float
    panel_height: float
    body_height: float

    @property
    def width(self) -> float:
        return 2 * MARGIN + 2 * self.panel_width + 2 * GAP + LEGEND_WIDTH

    @property
    def height(self) -> float:
        return 2 * MARGIN + TITLE_HEIGHT + CAPTION_HEIGHT + self.body_height

    def rectangle(self, left: float, width: float) -> tuple[float, float, float, float]:
        """Position something below the captions, in the fractions of the figure that matplotlib wants."""
        bottom = MARGIN + self.body_height - self.panel_height
        return left / self.width, bottom / self.height, width / self.width, self.panel_height / self.height


def write_preview(
    source_rgb: NDArray[np.uint8],
    classes: NDArray[Any],
    table: ClassTable,
    path: Path,
    *,
    title: str,
    pixel_width: float,
    unit: str,
    subtitle: str = "",
    pixel_counts: Sequence[int] | None = None,
) -> None:
    """Draw the preview, at most 1600 pixels wide.

    Parameters
    ----------
    source_rgb
        The scene, rows x columns x 3; see `display_rgb`.
    classes
        Class codes of the same rows x columns.
    table
        Their names and colours.
    path
        The PNG file.
    title, subtitle
        Lines above the picture.
    pixel_width, unit
        Width of a pixel of ``classes`` and its unit; see `ground_pixel_width`.
    pixel_counts
        Pixels of each class in the order of codes and of nodata last, at full resolution; None: they
        are counted in ``classes``.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    rows = legend_rows(table, _counts(classes, table) if pixel_counts is None else pixel_counts)
    layout = _layout(classes.shape[0], classes.shape[1], len(rows))
    # a Figure of its own, with the Agg canvas that is its default: no window system, no pyplot state
    figure = Figure(figsize=(layout.width / DPI, layout.height / DPI), dpi=DPI, facecolor="white")
    _draw_titles(figure, layout, title, subtitle)
    scene_left, map_left = MARGIN, MARGIN + layout.panel_width + GAP
    scene = _draw_panel(figure, layout, scene_left, source_rgb, "Scene")
    _draw_scale_bar(scene, layout, classes.shape[1], pixel_width, unit)
    _draw_panel(figure, layout, map_left, _class_colors(classes, table), "Class map")
    _draw_classes(figure, layout, map_left + layout.panel_width + GAP, rows)
    with finished_file(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})


def _layout(rows: int, columns: int, legend_count: int) -> _Layout:
    width, height = float(PANEL_WIDTH), PANEL_WIDTH * rows / columns
    if height > PANEL_HEIGHT_AT_MOST:
        width, height = PANEL_HEIGHT_AT_MOST * columns / rows, float(PANEL_HEIGHT_AT_MOST)
    # a strip one pixel high or wide is drawn broader than it is, so that something can be seen
    width, height = max(width, 160.0), max(height, 120.0)
    legend = legend_count * LegendRow.HEIGHT
    return _Layout(round(width), round(height), max(round(height), legend))


def _counts(classes: NDArray[Any], table: ClassTable) -> list[int]:
    counts = np.bincount(classes.ravel(), minlength=table.nodata + 1)
    return [*(int(n) for n in counts[: table.count]), int(counts[table.nodata])]


def _class_colors(classes: NDArray[Any], table: ClassTable) -> NDArray[np.uint8]:
    palette = np.zeros((table.nodata + 1, 3), np.uint8)
    palette[: table.count] = [entry.color for entry in table.classes]
    picture: NDArray[np.uint8] = palette[classes]
    rows, columns = np.indices(classes.shape)
    period = max(2, max(classes.shape) // 50)
    stripes = (rows + columns) // period % 2
    empty = classes == table.nodata
    picture[empty] = np.array(NODATA_COLORS, np.uint8)[stripes[empty]]
    return picture


def _draw_titles(figure: Figure, layout: _Layout, title: str, subtitle: str) -> None:
    left, top = MARGIN / layout.width, 1 - MARGIN / layout.height
    style: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False}
    figure.text(left, top, _fitting(title, layout, 14), fontsize=17, fontweight="bold", color=INK, **style)
    below = top - 38 / layout.height
    figure.text(left, below, _fitting(subtitle, layout, 8.7), fontsize=11, color=FAINT_INK, **style)


def _fitting(text: str, layout: _Layout, letter_width: float) -> str:
    """Shorten a line to the width of the picture."""
    letters = int((layout.width - 2 * MARGIN) / letter_width)
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _draw_panel(
    figure: Figure, layout: _Layout, left: float, picture: NDArray[np.uint8], caption: str
) -> Any:
    axes = figure.add_axes(layout.rectangle(left, layout.panel_width))
    axes.imshow(picture, aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#9aa5b1")
        spine.set_linewidth(0.8)
    axes.set_title(caption, loc="left", fontsize=12, color=INK, pad=6)
    return axes


def _draw_scale_bar(axes: Any, layout: _Layout, columns: int, pixel_width: float, unit: str) -> None:
    per_pixel = layout.panel_width / columns
    bar = round_scale_bar(pixel_width, unit, longest=columns * 0.3)
    length = bar.pixels * per_pixel
    plate = max(length, 9 * len(bar.label)) + 24
    # drawn in pixels of the panel, from its lower left corner
    frame = axes.inset_axes(
        (
            12 / layout.panel_width,
            12 / layout.panel_height,
            plate / layout.panel_width,
            40 / layout.panel_height,
        )
    )
    frame.set_xlim(0, plate)
    frame.set_ylim(0, 40)
    frame.set_axis_off()
    frame.add_patch(Rectangle((0, 0), plate, 40, facecolor="white", alpha=0.82, linewidth=0))
    frame.add_patch(Rectangle(((plate - length) / 2, 8), length, 5, facecolor=INK, linewidth=0))
    frame.text(plate / 2, 17, bar.label, ha="center", va="bottom", fontsize=10.5, color=INK, parse_math=False)


def _draw_classes(figure: Figure, layout: _Layout, left: float, rows: Sequence[LegendRow]) -> None:
    height = len(rows) * LegendRow.HEIGHT
    top = MARGIN + layout.body_height
    axes = figure.add_axes(
        (
            left / layout.width,
            (top - height) / layout.height,
            LEGEND_WIDTH / layout.width,
            height / layout.height,
        )
    )
    axes.set_xlim(0, LEGEND_WIDTH)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    draw_legend(axes, rows, LEGEND_WIDTH, ink=INK, faint_ink=FAINT_INK)
    axes.set_title("Classes, share of the mapped area", loc="left", fontsize=12, color=INK, pad=6)
