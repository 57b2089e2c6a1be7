"""Numbers in messages, as people read them."""

from __future__ import annotations


def readable_bytes(count: float) -> str:
    """Return bytes in the largest decimal unit that keeps a digit before the point.

    >>> readable_bytes(1_530_000_000)
    '1.53 GB'
    """
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1000
    return ""


def readable_time(seconds: float) -> str:
    """Return an expected time, no finer than it can be known.

    >>> readable_time(3), readable_time(95), readable_time(9000)
    ('less than 10 s', 'about 1.6 min', 'about 2.5 h')
    """
    if seconds < 10:
        return "less than 10 s"
    if seconds < 60:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:,.1f} min" if seconds < 7200 else f"about {seconds / 3600:,.1f} h"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun.

    >>> counted(1, "tile"), counted(1200, "tile"), counted(2, "class", "classes")
    ('1 tile', '1,200 tiles', '2 classes')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
