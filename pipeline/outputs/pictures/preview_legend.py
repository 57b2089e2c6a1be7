"""The legend of the preview: colour, name and share of every class that occurs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from matplotlib.patches import Rectangle

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.wording import counted

ROWS_AT_MOST: Final = 24
"""More classes than this are summed up in a last row."""
_LETTERS = 24


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


def draw_legend(axes: Any, rows: Sequence[LegendRow], width: float, *, ink: str, faint_ink: str) -> None:
    """Draw rows into axes that count pixels from the top left corner."""
    for index, row in enumerate(rows):
        middle = (index + 0.5) * LegendRow.HEIGHT
        if row.color is not None or row.is_nodata:
            axes.add_patch(_swatch(row, middle))
        name = row.name if len(row.name) <= _LETTERS else row.name[: _LETTERS - 1] + "…"
        style: dict[str, Any] = {"va": "center", "fontsize": 11, "parse_math": False}
        axes.text(36, middle, name, ha="left", color=ink, **style)
        axes.text(width, middle, row.share, ha="right", color=faint_ink, **style)


def _swatch(row: LegendRow, middle: float) -> Rectangle:
    red, green, blue = row.color or (232, 232, 232)
    return Rectangle(
        (0, middle - 9),
        26,
        18,
        facecolor=(red / 255, green / 255, blue / 255),
        edgecolor="#bcbcbc" if row.is_nodata else "#52606d",
        linewidth=0.6,
        hatch="////" if row.is_nodata else None,
    )
