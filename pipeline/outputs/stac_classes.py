"""What the codes of a class map mean, in the terms of the STAC classification extension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pystac.extensions.classification import Classification

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.models.packages.stac_fields import class_slugs, color_hint


def described_classes(table: ClassTable, pixel_counts: Sequence[int]) -> list[dict[str, Any]]:
    """Return ``classification:classes``: every class with its pixels and their share, and nodata."""
    total = sum(pixel_counts)
    slugs = class_slugs(table)
    entries = [
        Classification.create(
            value=entry.code,
            name=slug,
            title=entry.name,
            color_hint=color_hint(entry.color),
            count=count,
            percentage=round(100 * count / total, 6) if total else 0.0,
        )
        for entry, slug, count in zip(table.classes, slugs, pixel_counts, strict=True)
    ]
    nodata = Classification.create(value=table.nodata, name="nodata", title="no class", nodata=True)
    return [entry.to_dict() for entry in (*entries, nodata)]
