"""The names in a folder, listed once while it stays as it is: ten thousand pictures in it are as many scenes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

Names = Mapping[str, list[str]]
"""Name in lower case -> names."""
SETTLED: Final = 2.0
"""Seconds after its last change from which on a folder's time tells a later one: file systems count in steps."""
FOLDERS_AT_MOST: Final = 8
"""That are remembered."""
_KNOWN: dict[str, tuple[int, Names]] = {}
"""Folder -> its time of change when it was listed, and its names."""


def names_in(folder: Path) -> Names:
    """Return the names in a folder; of one that cannot be listed none: whoever opens the source says why."""
    key = str(folder)
    try:
        changed, now = folder.stat().st_mtime_ns, time.time_ns()
        known = _KNOWN.get(key)
        if known is not None and known[0] == changed:
            return known[1]
        found: dict[str, list[str]] = {}
        for there in folder.iterdir():
            found.setdefault(there.name.lower(), []).append(there.name)
    except OSError:
        return {}
    _KNOWN.pop(key, None)
    if now - changed > SETTLED * 1e9:
        while len(_KNOWN) >= FOLDERS_AT_MOST:
            _KNOWN.pop(next(iter(_KNOWN)), None)
        _KNOWN[key] = changed, found
    return found
