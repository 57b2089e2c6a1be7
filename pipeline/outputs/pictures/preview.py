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
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.outputs.pictures.lettering import fitting, font
from segment_tiles.pipeline.outputs.pictures.preview_legend import LegendRow, draw_legend, legend_rows
from segment_tiles.pipeline.outputs.pictures.scale_bar import round_scale_bar

PANEL_WIDTH: Final = 602
PANEL_HEIGHT_AT_MOST: Final = 900
MARGIN: Final = 28
GAP: Final = 20
LEGEND_WIDTH: Final = 300
TITLE_HEIGHT: Final = 84
CAPTION_HEIGHT: Final = 30
INK: Final = "#1f2933"
FAINT_INK: Final = "#616e7c"
FRAME: Final = "#9aa5b1"
TITLE_SIZE: Final = 23.6
SUBTITLE_SIZE: Final = 15.3
CAPTION_SIZE: Final = 16.7
SCALE_SIZE: Final = 14.6
"""Of letters, in pixels."""
SHARP_FROM: Final = 3.0
"""Enlarged by this and more, pixels are shown as the squares that they are."""
NODATA_COLORS: Final = ((232, 232, 232), (208, 208, 208))
"""Stripes that stand for pixels without class."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes in pixels of the finished picture."""

    panel_width: int
    panel_height: int
    body_height: int

    @property
    def width(self) -> int:
        return 2 * MARGIN + 2 * self.panel_width + 2 * GAP + LEGEND_WIDTH

    @property
    def height(self) -> int:
        return self.top + self.body_height + MARGIN

    @property
    def top(self) -> int:
        """First row below the captions."""
        return MARGIN + TITLE_HEIGHT + CAPTION_HEIGHT

    @property
    def map_left(self) -> int:
        return MARGIN + self.panel_width + GAP

    @property
    def legend_left(self) -> int:
        return self.map_left + self.panel_width + GAP


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
    picture = Image.new("RGB", (layout.width, layout.height), "white")
    _draw_titles(picture, layout, title, subtitle)
    _draw_panel(picture, layout, MARGIN, source_rgb, "Scene")
    _draw_scale_bar(picture, layout, classes.shape[1], pixel_width, unit)
    _draw_panel(picture, layout, layout.map_left, _class_colors(classes, table), "Class map")
    _draw_caption(picture, layout, layout.legend_left, "Classes, share of the mapped area")
    draw_legend(picture, rows, layout.legend_left, layout.top, LEGEND_WIDTH, ink=INK, faint_ink=FAINT_INK)
    with finished_file(path) as partial:
        picture.save(partial, format="PNG")


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
    return [int(counts[code]) for code in (*table.codes, table.nodata)]


def _class_colors(classes: NDArray[Any], table: ClassTable) -> NDArray[np.uint8]:
    palette = np.zeros((table.nodata + 1, 3), np.uint8)
    palette[list(table.codes)] = [entry.color for entry in table.classes]
    picture: NDArray[np.uint8] = palette[classes]
    rows, columns = np.indices(classes.shape)
    period = max(2, max(classes.shape) // 50)
    stripes = (rows + columns) // period % 2
    empty = classes == table.nodata
    picture[empty] = np.array(NODATA_COLORS, np.uint8)[stripes[empty]]
    return picture


def _draw_titles(picture: Image.Image, layout: _Layout, title: str, subtitle: str) -> None:
    draw, width = ImageDraw.Draw(picture), layout.width - 2 * MARGIN
    large, small = font(TITLE_SIZE, bold=True), font(SUBTITLE_SIZE)
    draw.text((MARGIN, MARGIN + 19), fitting(title, large, width), INK, large, anchor="ls")
    draw.text((MARGIN, MARGIN + 50), fitting(subtitle, small, width), FAINT_INK, small, anchor="ls")


def _draw_caption(picture: Image.Image, layout: _Layout, left: int, caption: str) -> None:
    ImageDraw.Draw(picture).text((left, layout.top - 9), caption, INK, font(CAPTION_SIZE), anchor="ls")


def _draw_panel(
    picture: Image.Image, layout: _Layout, left: int, pixels: NDArray[np.uint8], caption: str
) -> None:
    width, height, top = layout.panel_width, layout.panel_height, layout.top
    is_sharp = min(width / pixels.shape[1], height / pixels.shape[0]) >= SHARP_FROM
    resampling = Image.Resampling.NEAREST if is_sharp else Image.Resampling.HAMMING
    picture.paste(Image.fromarray(pixels).resize((width, height), resampling), (left, top))
    ImageDraw.Draw(picture).rectangle((left - 1, top - 1, left + width, top + height), outline=FRAME)
    _draw_caption(picture, layout, left, caption)


def _draw_scale_bar(
    picture: Image.Image, layout: _Layout, columns: int, pixel_width: float, unit: str
) -> None:
    """Draw a bar and its length on a translucent plate in the lower left corner of the scene."""
    bar, letters = round_scale_bar(pixel_width, unit, longest=columns * 0.3), font(SCALE_SIZE)
    length = max(1, round(bar.pixels * layout.panel_width / columns))
    width, height = max(length, round(letters.getlength(bar.label))) + 24, 40
    left, top = MARGIN + 12, layout.top + layout.panel_height - 12 - height
    white = Image.new("RGB", (width, height), "white")
    picture.paste(white, (left, top), Image.new("L", white.size, round(0.82 * 255)))
    draw, bar_left = ImageDraw.Draw(picture), left + (width - length) // 2
    draw.rectangle((bar_left, top + 27, bar_left + length - 1, top + 31), fill=INK)
    draw.text((left + width / 2, top + 21), bar.label, INK, letters, anchor="ms")
