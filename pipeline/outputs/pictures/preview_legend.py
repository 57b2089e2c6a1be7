"""The legend of the preview: colour, name and share of every class that occurs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from PIL import Image, ImageDraw

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.outputs.pictures.lettering import fitting, font
from segment_tiles.pipeline.wording import counted

ROWS_AT_MOST: Final = 24
"""More classes than this are summed up in a last row."""
LETTER_SIZE: Final = 15.3
"""Pixels."""
SWATCH: Final = (27, 19)
"""Width and height of a colour in pixels, with its frame."""
NAME_LEFT: Final = 36
NODATA_COLOR: Final = (232, 232, 232)


@dataclass(frozen=True, slots=True)
class LegendRow:
    """One line of the legend."""

    HEIGHT: ClassVar[int] = 30

    name: str
    """What stands there."""
    share: str
    """Share, ready to read."""
    color: tuple[int, int, int] | None
    """Of a class; None for pixels without class and for a sum of classes."""
    is_nodata: bool = False
    """Whether it is striped."""


def legend_rows(table: ClassTable, pixel_counts: Sequence[int]) -> list[LegendRow]:
    """Return the rows, largest class first; classes that do not occur last.

    Parameters
    ----------
    table
        The classes.
    pixel_counts
        Pixels of each class in the order of codes, and of nodata last.

    Returns
    -------
    list of LegendRow
        Shares of classes are of the pixels that have a class; that of nodata is of all pixels.
    """
    *counts, empty = pixel_counts
    mapped = sum(counts)
    ranked = sorted(zip(counts, table.classes, strict=True), key=lambda pair: (-pair[0], pair[1].code))
    shown = ranked if len(ranked) <= ROWS_AT_MOST else ranked[: ROWS_AT_MOST - 1]
    rows = [LegendRow(entry.name, share_of(count, mapped), entry.color) for count, entry in shown]
    rest = ranked[len(shown) :]
    if rest:
        together = share_of(sum(count for count, _ in rest), mapped)
        rows.append(LegendRow(counted(len(rest), "more class", "more classes"), together, None))
    if empty:
        share = share_of(empty, mapped + empty)
        rows.append(LegendRow("no data", f"{share} of all", None, is_nodata=True))
    return rows


def share_of(part: int, whole: int) -> str:
    """Return a share as a percentage that never says 0 or 100 if it is not exactly that.

    >>> share_of(1, 3), share_of(1, 10**6), share_of(0, 5), share_of(999_999, 10**6)
    ('33.3 %', '< 0.1 %', '0 %', '> 99.9 %')
    """
    if part == 0 or whole == 0:
        return "0 %"
    if part == whole:
        return "100 %"
    percent = 100 * part / whole
    if percent < 0.1:
        return "< 0.1 %"
    return "> 99.9 %" if percent > 99.9 else f"{percent:.1f} %"


def draw_legend(
    picture: Image.Image,
    rows: Sequence[LegendRow],
    left: int,
    top: int,
    width: int,
    *,
    ink: str,
    faint_ink: str,
) -> None:
    """Draw rows into a picture, from their top left corner on; names that are too long for their row are shortened."""
    draw, letters = ImageDraw.Draw(picture), font(LETTER_SIZE)
    for index, row in enumerate(rows):
        middle = top + index * LegendRow.HEIGHT + LegendRow.HEIGHT // 2
        if row.color is not None or row.is_nodata:
            picture.paste(_swatch(row), (left, middle - SWATCH[1] // 2))
        room = width - NAME_LEFT - letters.getlength(row.share) - 12
        draw.text((left + NAME_LEFT, middle), fitting(row.name, letters, room), ink, letters, anchor="lm")
        draw.text((left + width, middle), row.share, faint_ink, letters, anchor="rm")


def _swatch(row: LegendRow) -> Image.Image:
    """Return the colour of a class in a frame, or stripes, drawn large and made small, so that they are smooth."""
    if not row.is_nodata:
        swatch = Image.new("RGB", SWATCH, row.color or NODATA_COLOR)
        ImageDraw.Draw(swatch).rectangle((0, 0, SWATCH[0] - 1, SWATCH[1] - 1), outline="#52606d")
        return swatch
    width, height = 4 * SWATCH[0], 4 * SWATCH[1]
    large = Image.new("RGB", (width, height), NODATA_COLOR)
    draw = ImageDraw.Draw(large)
    for start in range(0, width + height, 30):
        draw.line((start, 0, start - height, height), "#bcbcbc", 5)
    draw.rectangle((0, 0, width - 1, height - 1), outline="#bcbcbc", width=4)
    return large.resize(SWATCH, Image.Resampling.BOX)
