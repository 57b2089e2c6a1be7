"""Rasters that STAC documents name: items, item collections, collections, catalogs, local or remote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin
from urllib.request import urlopen

import pystac

from segment_tiles.pipeline.errors import UsageError, one_line
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.sources.stacks.elements import name_of_elements

RASTER_TYPES = ("image/", "application/x-hdf", "application/vnd+zarr", "application/vnd.zarr")
"""Beginnings of the media types of rasters."""


SECONDS = 60
"""How long a server may take to answer."""


class _Documents(pystac.stac_io.DefaultStacIO):
    """Reads as pystac does, but does not wait for ever, and fails with one kind of error."""

    def read_text_from_href(self, href: str) -> str:
        """Return the text of a path or URL."""
        if not href.startswith(("http://", "https://")):
            return Path(href.removeprefix("file://")).read_text(encoding="utf-8")
        with urlopen(href, timeout=SECONDS) as answer:
            return str(answer.read().decode("utf-8"))


def stac_items(href: str) -> list[pystac.Item]:
    """Return the items of a document, in its order; those of child catalogs come after those of their parents.

    Parameters
    ----------
    href
        Absolute path or URL.

    Raises
    ------
    UsageError
        If it cannot be read, is no STAC, or has no items.
    """
    try:
        items = list(_items(href))
    except (OSError, pystac.STACError, JSONDecodeError, UnicodeDecodeError, KeyError, ValueError) as error:
        msg = f"{href}: cannot be read as STAC ({one_line(error)})"
        raise UsageError(msg) from error
    if not items:
        msg = f"{href}: has no items"
        raise UsageError(msg)
    return items


@dataclass(frozen=True, slots=True)
class ItemScene:
    """A scene that is an item, or an asset of it."""

    source: str = field(repr=False)  # may hold secrets
    """Path, URL or the item itself."""
    names: dict[str, str]
    """What `out` may name: id, collection, date."""
    file: str | None = field(default=None, repr=False)
    """Path or URL of the raster, if it is one."""
    assets: tuple[str, ...] = ()
    """What is read of the item, if it says something of the bands of its raster."""


def scene_of_item(item: pystac.Item, asset: str | None, *, is_stack: bool) -> ItemScene:
    """Return the source of an item.

    An asset of whose bands the item says something, a name or a missing value, is read as the item says.

    Parameters
    ----------
    item
        An item.
    asset
        Key of the asset that is the raster; None if it is the only one with the role data, or bands are files of
        their own: the source is then a stack of them.
    is_stack
        Whether it is a stack in any case.

    Raises
    ------
    UsageError
        If it has no such asset, or an asset has no address.
    """
    rasters = [name for name, one in item.assets.items() if _is_raster(one)]
    if asset is None and (is_stack or len(rasters) != 1):
        return ItemScene(name_of_elements([plain_item(item)]), names_of_item(item))
    key = asset or rasters[0]
    href = _raster(item, key)
    if set(_told(item.assets[key])) & _OF_BANDS:
        return ItemScene(name_of_elements([plain_item(item)]), names_of_item(item), href, (key,))
    return ItemScene(href, names_of_item(item), href)


def plain_item(item: pystac.Item) -> str:
    """Return what a stack needs of an item, as JSON with absolute addresses.

    Raises
    ------
    UsageError
        If an asset has no address.
    """
    assets = {key: {**_told(asset), "href": _href(item, key)} for key, asset in item.assets.items()}
    properties = {
        name: value for name, value in item.properties.items() if name in {"datetime", "start_datetime"}
    }
    return json_text(
        {
            "type": "Feature",
            "stac_version": pystac.get_stac_version(),
            "id": item.id,
            "properties": properties,
            "assets": assets,
        },
        indent=None,
    )


_TOLD: Final = (
    "type",
    "roles",
    "bands",
    "eo:bands",
    "raster:bands",
    "nodata",
    "eo:common_name",
    "raster:scale",
    "raster:offset",
)
"""What of an asset says which bands it has."""


_OF_BANDS: Final = frozenset(_TOLD) - {"type", "roles"}


def _told(asset: pystac.Asset) -> dict[str, Any]:
    return {name: value for name, value in asset.to_dict().items() if name in _TOLD}


def _items(href: str) -> Iterator[pystac.Item]:
    documents = _Documents()
    document = documents.read_json(href)
    if document.get("type") == "FeatureCollection":
        yield from _pages(href, document, documents)
        return
    content = pystac.read_file(href, stac_io=documents)
    if isinstance(content, pystac.Item):
        yield content
    elif isinstance(content, pystac.Catalog):
        yield from content.get_items(recursive=True)


def _pages(href: str, document: dict[str, Any], documents: _Documents) -> Iterator[pystac.Item]:
    """Yield the items of an item collection and of the pages that follow it, as STAC APIs divide them."""
    visited = set()
    while True:
        visited.add(href)
        for item in pystac.ItemCollection.from_dict(document).items:
            if item.get_self_href() is None:
                item.set_self_href(href)
            yield item
        following = next((link for link in document.get("links", []) if link.get("rel") == "next"), None)
        if following is None:
            return
        if following.get("method", "GET").upper() != "GET":
            msg = "its next page wants a POST request; save the search as a file and give that"
            raise ValueError(msg)
        href = urljoin(href, following["href"])
        if href in visited:
            msg = f"its pages lead in a circle at {href}"
            raise ValueError(msg)
        document = documents.read_json(href)


def _raster(item: pystac.Item, key: str) -> str:
    if key not in item.assets:
        msg = f"item {item.id} has no asset {key!r}; it has {', '.join(item.assets) or 'none'}"
        raise UsageError(msg)
    return _href(item, key)


def _href(item: pystac.Item, key: str) -> str:
    href = item.assets[key].get_absolute_href()
    if href is None:
        msg = f"item {item.id}: the address of asset {key!r} is relative to an item without an address"
        raise UsageError(msg)
    return href.removeprefix("file://")


def _is_raster(asset: pystac.Asset) -> bool:
    return "data" in (asset.roles or ()) and (asset.media_type or "").startswith(RASTER_TYPES)


def moment_of(item: pystac.Item) -> datetime | None:
    """Return when an item was taken, or begins, in UTC; None if it does not say."""
    moment = item.datetime or item.common_metadata.start_datetime
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def names_of_item(item: pystac.Item) -> dict[str, str]:
    """Return what `out` may name of an item."""
    moment = moment_of(item)
    return {
        "id": item.id,
        "collection": item.collection_id or "",
        "date": moment.strftime("%Y-%m-%d") if moment is not None else "",
    }
