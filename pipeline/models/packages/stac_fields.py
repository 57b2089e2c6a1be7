"""What STAC items of models, of results and collections of them say alike: files, classes, the text itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import pystac

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.models.packages.checksum import MULTIHASH_SHA256

CLASSIFICATION_SCHEMA: Final = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
FILE_SCHEMA: Final = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
LONG_AGO: Final = datetime(1900, 1, 1, tzinfo=UTC)
"""Begin of a time of which nobody knows more."""


def file_fields(sha256: str, size: int) -> dict[str, Any]:
    """Return checksum and bytes of a file, as the file extension has them."""
    return {"file:checksum": MULTIHASH_SHA256 + sha256, "file:size": size}


def color_hint(color: tuple[int, int, int]) -> str:
    """Return a colour as the classification extension has it.

    >>> color_hint((255, 0, 16))
    'FF0010'
    """
    return "{:02X}{:02X}{:02X}".format(*color)


def class_slugs(table: ClassTable) -> list[str]:
    """Return names in the letters that the classification extension allows, all different.

    >>> from segment_tiles.pipeline.grid.classes import MapClass
    >>> class_slugs(ClassTable((MapClass(0, "a b", (0, 0, 0)), MapClass(1, "a/b", (0, 0, 0)))))
    ['a_b', 'a_b_1']
    """
    slugs: list[str] = []
    for entry in table.classes:
        slug = re.sub("[^0-9A-Za-z_-]", "_", entry.name) or "class"
        slugs.append(slug if slug not in {*slugs, "nodata"} else f"{slug}_{entry.code}")
    return slugs


def stac_text(document: pystac.Item | pystac.Collection) -> str:
    """Return the text of a file that holds this document alone; hrefs stay relative to it."""
    plain = document.to_dict(include_self_link=False, transform_hrefs=False)
    return json_text(plain, ensure_ascii=False) + "\n"
