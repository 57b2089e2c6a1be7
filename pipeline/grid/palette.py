"""Colours for class codes that come without one."""

from __future__ import annotations

import colorsys

GOLDEN_RATIO = 0.618033988749895


def class_color(code: int) -> tuple[int, int, int]:
    """Return a colour for a class code: hues a golden ratio apart stay distinct for many codes.

    >>> class_color(0) != class_color(1)
    True
    """
    hue = (code * GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.65, 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)
