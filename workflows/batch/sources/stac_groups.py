"""Items brought together: those of a tile or a date are one scene, those of several dates one stack.

::

    items      33UUP 1 May   33UUP 15 Aug   33UVP 1 May   33UVP 15 Aug
    group_by: [tile, date]   four scenes              group_by: [date]   two scenes, each a mosaic of two items
    dates: [1 May, 15 Aug], group_by: [tile]          two scenes of bands red@1, nir@1, red@2, nir@2
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.sources.stacks.elements import name_of_elements
from segment_tiles.workflows.batch.settings import GroupKey
from segment_tiles.workflows.batch.sources.stac_scenes import moment_of, names_of_item, plain_item

if TYPE_CHECKING:
    import pystac

log = logging.getLogger(__name__)
_TILES = ("grid:code", "s2:mgrs_tile", "sentinel:grid_square", "landsat:wrs_path_row")
"""Properties that name a tile as a whole, the first that an item has."""
_PARTS_OF_TILE = (
    ("mgrs:utm_zone", "mgrs:latitude_band", "mgrs:grid_square"),
    ("landsat:wrs_path", "landsat:wrs_row"),
    ("modis:horizontal-tile", "modis:vertical-tile"),
)
"""Properties that name it together."""


def grouped(
    items: Sequence[pystac.Item], group_by: Sequence[GroupKey], dates: Sequence[date], name: str
) -> list[tuple[str, dict[str, str]]]:
    """Return the source of each group of items, and what `out` may name of it, in the order of their first items.

    Parameters
    ----------
    items
        Of a search or a document.
    group_by
        What the items of one scene have in common; of one date later items lie on top.
    dates
        Of the items that become one stack, in the order of its bands; empty: a scene has one time.
    name
        Of the job.

    Raises
    ------
    UsageError
        If an item does not say its tile or its date, or a group has no item of a date.
    """
    groups: dict[tuple[str, ...], list[pystac.Item]] = {}
    keys = [key for key in group_by if key != "date" or not dates]
    for item in items:
        groups.setdefault(tuple(_value(item, key) for key in keys), []).append(item)
    scenes = []
    for values, members in groups.items():
        elements = _dated(members, dates, values) if dates else [members]
        told: dict[str, str] = dict(zip(keys, values, strict=True))
        fields = {**names_of_item(members[0]), **told}
        fields["id"] = "_".join(values) or name or members[0].id
        if dates:
            fields["date"] = "_".join(day.isoformat() for day in dates)
        layers = [[plain_item(item) for item in sorted(element, key=_when)] for element in elements]
        scenes.append((name_of_elements(layers), fields))
    return scenes


def _dated(
    items: Sequence[pystac.Item], dates: Sequence[date], values: Sequence[str]
) -> list[list[pystac.Item]]:
    """Return the items of each date."""
    by_date: dict[str, list[pystac.Item]] = {}
    for item in items:
        by_date.setdefault(_value(item, "date"), []).append(item)
    for day in dates:
        if day.isoformat() not in by_date:
            of = f" of {' '.join(values)}" if values else ""
            msg = f"dates names {day}, but no item{of} is of that day; there are {', '.join(sorted(by_date))}"
            raise UsageError(msg)
    asked = [day.isoformat() for day in dates]
    others = [item.id for day, found in by_date.items() if day not in asked for item in found]
    if others:
        log.info("items of other days than dates names are left out: %s", ", ".join(others))
    return [by_date[day] for day in asked]


def _value(item: pystac.Item, key: GroupKey) -> str:
    """Return the tile or the date of an item.

    Raises
    ------
    UsageError
        If it does not say.
    """
    found = names_of_item(item)["date"] if key == "date" else _tile(item)
    if not found:
        wanted = "datetime" if key == "date" else f"{', '.join(_TILES)} or mgrs:utm_zone"
        msg = f"item {item.id} does not say its {key} (no {wanted}); leave {key} out of group_by"
        raise UsageError(msg)
    return found


def _tile(item: pystac.Item) -> str:
    told = item.properties
    for name in _TILES:
        if told.get(name):
            return str(told[name])
    for names in _PARTS_OF_TILE:
        if all(told.get(name) is not None for name in names):
            return "".join(str(told[name]) for name in names)
    return ""


def _when(item: pystac.Item) -> tuple[datetime, str]:
    return moment_of(item) or datetime.min.replace(tzinfo=UTC), item.id
