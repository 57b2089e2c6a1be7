"""What the codes of a class map mean, in the terms of the STAC classification extension."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pystac.extensions.classification import Classification

from segment_tiles.pipeline.grid.classes import ClassTable


def described_classes(table: ClassTable, pixel_counts: Sequence[int]) -> list[dict[str, Any]]:
    """Return ``classification:classes``: every class with its pixels and their share, and nodata."""
    total = sum(pixel_counts)
    slugs = _slugs(table)
    entries = [
        Classification.create(
            value=entry.code,
            name=slug,
            title=entry.name,
            color_hint="{:02X}{:02X}{:02X}".format(*entry.color),
            count=count,
            percentage=round(100 * count / total, 6) if total else 0.0,
        )
        for entry, slug, count in zip(table.classes, slugs, pixel_counts, strict=True)
    ]
    nodata = Classification.create(value=table.nodata, name="nodata", title="no class", nodata=True)
    return [entry.to_dict() for entry in (*entries, nodata)]


def _slugs(table: ClassTable) -> list[str]:
    """Return names in the letters that the classification extension allows, all different.

    >>> from segment_tiles.pipeline.grid.classes import MapClass
    >>> _slugs(ClassTable((MapClass(0, "a b", (0, 0, 0)), MapClass(1, "a/b", (0, 0, 0)))))
    ['a_b', 'a_b_1']
    """
    slugs: list[str] = []
    for entry in table.classes:
        slug = re.sub("[^0-9A-Za-z_-]", "_", entry.name) or "class"
        slugs.append(slug if slug not in {*slugs, "nodata"} else f"{slug}_{entry.code}")
    return slugs
