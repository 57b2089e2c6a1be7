"""The names in a folder, listed once while it stays as it is: ten thousand pictures in it are as many scenes."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NEVER_METADATA: Final = frozenset({
    ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".gpkg", ".geojson", ".parquet", ".fgb", ".csv", ".yaml",
    ".md", ".gz", ".nii", ".zarr", ".zip",
})  # fmt: skip
"""Endings of files beside a raster in which GDAL looks for nothing about it; text and XML may be a satellite's."""
SETTLED: Final = 2.0
"""Seconds after its last change from which on a folder's time tells a later one: file systems count in steps."""
FOLDERS_AT_MOST: Final = 8
"""That are remembered."""


@dataclass(frozen=True, slots=True)
class FolderListing:
    """What lies in a folder, in lower case as GDAL compares names."""

    names: Mapping[str, list[str]]
    """Name in lower case -> names."""
    in_order: tuple[str, ...]
    """Names in lower case, sorted."""
    may_be_metadata: frozenset[str]
    """Those of them that may say something about any raster beside them; folders say nothing."""

    def beginning_with(self, start: str) -> Iterator[str]:
        """Yield the names in lower case that begin so, without a look at the others."""
        for index in range(bisect_left(self.in_order, start), len(self.in_order)):
            if not self.in_order[index].startswith(start):
                return
            yield self.in_order[index]


_NOTHING: Final = FolderListing({}, (), frozenset())
_KNOWN: dict[str, tuple[int, FolderListing]] = {}
"""Folder -> its time of change when it was listed, and what lay in it."""


def listing_of(folder: Path) -> FolderListing:
    """Return what lies in a folder; of one that cannot be listed nothing: whoever opens the source says why."""
    key = str(folder)
    try:
        changed, now = folder.stat().st_mtime_ns, time.time_ns()
        known = _KNOWN.get(key)
        if known is not None and known[0] == changed:
            return known[1]
        found = _listed(folder)
    except OSError:
        return _NOTHING
    _KNOWN.pop(key, None)
    if now - changed > SETTLED * 1e9:
        while len(_KNOWN) >= FOLDERS_AT_MOST:
            _KNOWN.pop(next(iter(_KNOWN)), None)
        _KNOWN[key] = changed, found
    return found


def _listed(folder: Path) -> FolderListing:
    names: dict[str, list[str]] = {}
    for there in folder.iterdir():
        names.setdefault(there.name.lower(), []).append(there.name)
    suspects = frozenset(
        name
        for name, there in names.items()
        if Path(name).suffix not in NEVER_METADATA and not all((folder / one).is_dir() for one in there)
    )
    return FolderListing(names, tuple(sorted(names)), suspects)
