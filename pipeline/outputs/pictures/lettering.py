"""Letters in pictures: DejaVu Sans, which has Latin, Greek, Cyrillic and Arabic letters."""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from PIL import ImageFont

LETTERS_AT_MOST: Final = 500
"""More than this fit in no line of any picture."""


@cache
def font(size: float, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font in a size in pixels."""
    return ImageFont.truetype(_file("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size)


def fitting(text: str, letters: ImageFont.FreeTypeFont, width: float) -> str:
    """Return a text as one line, shortened to a width in pixels."""
    line = " ".join(text[:LETTERS_AT_MOST].split())
    if letters.getlength(line) <= width:
        return line
    fits, too_long = 0, len(line)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if letters.getlength(f"{line[:middle]}…") <= width:
            fits = middle
        else:
            too_long = middle
    return f"{line[:fits].rstrip()}…"


def _file(name: str) -> Path:
    """Return a font file of matplotlib's, if possible without the half second that its import takes."""
    file = Path(str(distribution("matplotlib").locate_file(f"matplotlib/mpl-data/fonts/ttf/{name}")))
    if file.is_file():
        return file
    from matplotlib import get_data_path  # noqa: PLC0415 - only where a system keeps its files elsewhere

    return Path(get_data_path(), "fonts", "ttf", name)
