"""What a user names as a source, taken apart: one source, or the elements of a stack."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.names import STACK, is_stack, is_there, is_url

Elements = tuple[tuple[str, ...], ...]
"""Files and STAC items in the order of their bands; several in one lie on top of each other, the last uppermost."""

_COMMA: Final = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')
"""A comma that is not quoted, as in NETCDF:"a,b.nc":x."""
_PART_OF_FILE: Final = re.compile(r"/vsisubfile/\d+(?:_\d+)?$", re.IGNORECASE)
"""GDAL's name of a part of a file: a comma follows."""
_SPECIAL: Final = ("<", "{", "PG:", "WMS:", "WCS:", "WMTS:")
"""Beginnings of names of GDAL in which a comma says something else."""
_OF: Final = "of"


def elements_of(source: str) -> Elements | None:
    """Return the elements of a list by commas, or of a name that `name_of_elements` made; None of a single source.

    A file whose own name has a comma is a single source, and what follows a comma in the query of a URL is a part of
    the query if it is no file and no URL.

    >>> elements_of("B04.tif,B03.tif"), elements_of("scene.tif"), elements_of("https://host/a.tif?bands=1,2")
    ((('B04.tif',), ('B03.tif',)), None, None)
    """
    if is_stack(source):
        return _elements_in(source)
    if "," not in source or source.startswith(_SPECIAL) or is_there(source):
        return None
    parts: list[str] = []
    for part in _COMMA.split(source):
        belongs = parts and (
            _PART_OF_FILE.search(parts[-1])
            or ("?" in parts[-1] and is_url(parts[-1]) and not is_url(part) and not is_there(part.strip()))
        )
        if belongs:
            parts[-1] = f"{parts[-1]},{part}"
        else:
            parts.append(part.strip())
    if not all(parts):
        msg = (
            f"{source}: names an empty file between its commas; give the files of a stack as B04.tif,B03.tif"
        )
        raise SourceError(msg)
    return tuple((part,) for part in parts) if len(parts) > 1 else None


def name_of_elements(elements: Sequence[str | Sequence[str]]) -> str:
    """Return the name of a stack of elements that are not looked at yet.

    Parameters
    ----------
    elements
        Paths or URLs of rasters and of STAC items, or items themselves as JSON; several in one are of one band each.
    """
    groups = [[entry] if isinstance(entry, str) else list(entry) for entry in elements]
    return STACK + json_text({_OF: groups}, indent=None)


def located_source(name: str, folder: Path) -> str:
    """Return the name of a source that a file in a folder names: absolute, of files by commas that of their stack.

    >>> located_source("a.tif", Path("/data")), located_source("https://host/a.tif", Path("/data"))
    ('/data/a.tif', 'https://host/a.tif')
    """
    if is_stack(name):
        return name
    address = _located(name, folder)
    elements = None if is_there(address) else elements_of(name)
    if elements is None:
        return address
    return name_of_elements([[_located(file, folder) for file in group] for group in elements])


def _located(name: str, folder: Path) -> str:
    return name if is_url(name) else str(folder / Path(name).expanduser())


def _elements_in(source: str) -> Elements | None:
    try:
        found: Any = json.loads(source.removeprefix(STACK))
        return tuple(tuple(map(str, group)) for group in found[_OF]) if _OF in found else None
    except (ValueError, TypeError) as error:
        msg = (
            f"{source[:80]}: is not the name of a stack ({error}); give its files by commas, or a stack file"
        )
        raise SourceError(msg) from error
