"""Attributes of objects: those of features, their identity, and sums of coordinates, which add up over tiles.

The sums count rows and columns from the first pixel of the piece that they are of: whole numbers, so that the shape of
an object is the same however the raster is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.geometry.attributes import Attributes, sums
from segment_tiles.pipeline.vectors.geometry.components import Components
from segment_tiles.pipeline.vectors.rasters.identities import is_object

Numbers = NDArray[np.int64]
LARGEST_EXTENT: Final = 50_000
"""Pixels of a side of an object up to which its sums of squares surely fit in 64 bits."""


@dataclass(frozen=True, slots=True)
class ObjectAttributes(Attributes):
    """What is known of each feature, or piece of one, of a request for objects."""

    identities: Numbers
    """Of the object; of features that are none, their class code."""
    rows: Numbers
    """Row of the first pixel in the raster; sums count from it."""
    columns: Numbers
    """Column of the first pixel."""
    row_sums: Numbers
    """Sum of the rows of the pixels."""
    column_sums: Numbers
    """Sum of their columns."""
    row_squares: Numbers
    """Sum of the squares of rows."""
    products: Numbers
    """Sum of rows times columns."""
    column_squares: Numbers
    """Sum of the squares of columns."""
    neighbours: Numbers
    """Other objects that it shares an edge of a pixel with; of a piece at a seam, not known yet."""

    @property
    def are_objects(self) -> NDArray[np.bool_]:
        """True for objects."""
        return is_object(self.identities)

    def merge(self, groups: Numbers, count: int) -> ObjectAttributes:
        """Return one row for each group, with the sums of all its pieces counted from its first pixel."""
        # not super(): a dataclass with slots is another class than the one that stands here
        merged = Attributes.merge(self, groups, count)
        is_first = self.first_pixels == merged.first_pixels[groups]
        columns: dict[str, Numbers] = {}
        for name in ("identities", "rows", "columns"):
            columns[name] = np.zeros(count, dtype=np.int64)
            columns[name][groups[is_first]] = getattr(self, name)[is_first]
        moved = self.counted_from(columns["rows"][groups], columns["columns"][groups])
        for name in ("row_sums", "column_sums", "row_squares", "products", "column_squares", "neighbours"):
            columns[name] = sums(getattr(moved, name), groups, count)
        known: dict[str, Any] = {**_common(merged), **columns}
        return ObjectAttributes(**known)

    def counted_from(self, rows: Numbers, columns: Numbers) -> ObjectAttributes:
        """Return the same with sums that count from other pixels."""
        down, right, number = self.rows - rows, self.columns - columns, self.pixels
        return replace(
            self,
            rows=rows,
            columns=columns,
            row_sums=self.row_sums + number * down,
            column_sums=self.column_sums + number * right,
            row_squares=self.row_squares + 2 * down * self.row_sums + number * down * down,
            products=self.products + down * self.column_sums + right * self.row_sums + number * down * right,
            column_squares=self.column_squares + 2 * right * self.column_sums + number * right * right,
        )


def _common(attributes: Attributes) -> dict[str, Any]:
    """Return the columns that all features have."""
    return {field.name: getattr(attributes, field.name) for field in fields(Attributes)}


def object_attributes(
    base: Attributes,
    identities: Numbers,
    components: Components,
    window: Window,
    width: int,
    contacts: Numbers,
) -> ObjectAttributes:
    """Return the attributes of the objects of one tile, and of its other features.

    Parameters
    ----------
    base
        What features have, one row for each component.
    identities
        Of each component.
    components
        Their labels.
    window
        The tile.
    width
        Columns of the raster.
    contacts
        Components that touch another object, each as often as there are others.
    """
    count = len(base)
    rows, columns = np.divmod(base.first_pixels, width)
    corner: dict[str, Any] = {
        **_common(base),
        "identities": identities,
        "rows": np.full(count, window.row),
        "columns": np.full(count, window.column),
        **_sums_of_runs(components.labels, count),
        "neighbours": np.bincount(contacts, minlength=count).astype(np.int64),
    }
    return ObjectAttributes(**corner).counted_from(rows, columns)


def _sums_of_runs(labels: NDArray[np.int32], count: int) -> dict[str, Numbers]:
    """Return sums over the pixels of each label, of rows and columns of the array, from the runs of equal label."""
    starts = np.ones(labels.shape, dtype=np.bool_)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=starts[:, 1:])
    first = np.flatnonzero(starts)
    number = np.diff(first, append=labels.size)
    owner = labels.ravel()[first].astype(np.int64)
    inside = owner > 0
    first, number, owner = first[inside], number[inside], owner[inside] - 1
    row, column = np.divmod(first, labels.shape[1])
    along = number * (number - 1) // 2
    columns = number * column + along
    squares = number * column * column + 2 * column * along + along * (2 * number - 1) // 3
    return {
        "row_sums": sums(number * row, owner, count),
        "column_sums": sums(columns, owner, count),
        "row_squares": sums(number * row * row, owner, count),
        "products": sums(row * columns, owner, count),
        "column_squares": sums(squares, owner, count),
    }
