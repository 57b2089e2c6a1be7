"""Bands of STAC items: which asset, and which band of it, has a name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import urlsplit

from segment_tiles.pipeline.errors import SourceError, UsageError
from segment_tiles.pipeline.names import is_url, shown_name
from segment_tiles.pipeline.sources.damage import damage_refused
from segment_tiles.pipeline.sources.stacks.documents import beside, text_of

RASTER_TYPES: Final = ("image/", "application/x-hdf", "application/vnd+zarr", "application/vnd.zarr")
"""Beginnings of the media types of rasters."""
OF_ALL_BANDS: Final = ("nodata", "eo:common_name", "raster:scale", "raster:offset")
"""Fields of an asset that hold for each of its bands, by STAC 1.1."""
SUFFIXES: Final = (".json", ".geojson")
"""Endings of files that may be items."""
PICTURES: Final = {"visual", "overview", "thumbnail", "metadata"}
"""Roles of assets that are no data."""


@dataclass(frozen=True, slots=True)
class AssetBand:
    """A band of an asset, as its item says."""

    asset: str
    """Key of the asset."""
    href: str = field(repr=False)  # may hold secrets
    """Absolute path or URL."""
    band: int | None
    """1-based; None: the item says nothing of bands."""
    names: tuple[str, ...]
    """Of the band, and its common name."""
    nodata: float | None
    """What the item says, as scale and offset."""
    scale: float | None
    offset: float | None
    is_alone: bool
    """Whether the asset has no other band."""


@dataclass(frozen=True, slots=True)
class Item:
    """A STAC item, as far as a stack needs it."""

    name: str
    """Its id."""
    moment: str
    """Its datetime, else its start, as the item has it; empty if it has none."""
    bands: tuple[AssetBand, ...]
    """Of all assets, in their order."""
    data: tuple[str, ...]
    """Keys of the assets that are data in rasters."""

    def band(self, name: str) -> tuple[AssetBand, ...]:
        """Return the band that has a name; of an asset of that key, all of its bands.

        The key of an asset comes first, then bands of assets that have no other, then all others.

        Raises
        ------
        UsageError
            If none has it, or two assets have, naming both.
        """
        by_key = [band for band in self.bands if band.asset == name]
        if by_key:
            return tuple(by_key)
        named = [band for band in self.bands if name.lower() in map(str.lower, band.names)]
        alone = [band for band in named if band.is_alone]
        found = alone or named
        if not found:
            keys = ", ".join(dict.fromkeys(band.asset for band in self.bands)) or "none"
            msg = f"item {self.name} has no asset or band {name!r}; its assets are {keys}: name them with --assets"
            raise UsageError(msg)
        if len(found) > 1:
            both = " and ".join(_shown(band) for band in found)
            msg = f"item {self.name}: {both} have the name {name!r}; name one by its key with --assets"
            raise UsageError(msg)
        return (found[0],)

    def has(self, name: str) -> bool:
        """Return whether some band or asset has a name."""
        return any(name == band.asset or name.lower() in map(str.lower, band.names) for band in self.bands)


def _shown(band: AssetBand) -> str:
    return f"asset {band.asset!r}" if band.is_alone else f"band {band.band} of asset {band.asset!r}"


def item_of(element: str) -> Item | None:
    """Return the STAC item that an element is: JSON itself, a file of it, or what a server has; None of a raster.

    Raises
    ------
    SourceError
        If a server does not give a document whose address is that of one, or an item cannot be understood.
    """
    if not element.startswith("{") and not _may_be_item(element):
        return None
    try:
        document = json.loads(element if element.startswith("{") else text_of(element))
    except ValueError:
        return None  # GDAL says what is wrong
    except SourceError:
        if is_url(element):
            raise
        return None
    return _parsed(element, document) if _is_plain_item(document) else None


def _may_be_item(element: str) -> bool:
    """Return whether a name ends as that of an item does, in a file or behind an API."""
    if element.startswith(("http://", "https://")):
        path = urlsplit(element).path
        last = path.rstrip("/").rpartition("/")[2]
        return path.lower().endswith(SUFFIXES) or ("/items/" in path and "." not in last)
    return not is_url(element) and element.lower().endswith(SUFFIXES)


def _is_plain_item(document: Any) -> bool:
    # of one with templates of addresses GDAL makes one raster
    return (
        isinstance(document, dict)
        and document.get("type") == "Feature"
        and {"stac_version", "assets"} <= document.keys()
        and "asset_templates" not in document
    )


def read_item(element: str) -> Item:
    """Return what the item in a file or behind a URL says.

    Raises
    ------
    SourceError
        If it cannot be read, or is no item.
    """
    try:
        document = json.loads(text_of(element))
    except ValueError as error:
        msg = f"{_name(element)}: is not JSON ({error}); give a STAC item"
        raise SourceError(msg) from error
    if not _is_plain_item(document):
        found = document.get("type") if isinstance(document, dict) else type(document).__name__
        msg = f"{_name(element)}: is no STAC item (its type is {found!r}); a batch reads collections and searches"
        raise SourceError(msg)
    return _parsed(element, document)


def _parsed(element: str, document: Mapping[str, Any]) -> Item:
    """Return what the document of an item says.

    Raises
    ------
    SourceError
        If a part of it is not what STAC says, or an address leads nowhere.
    """
    own = _self_href(document) if element.startswith("{") else element
    with damage_refused(_name(element), "a STAC item"):
        bands = tuple(band for key in document["assets"] for band in _bands_of(document, key, own))
        properties = document.get("properties") or {}
        moment = properties.get("datetime") or properties.get("start_datetime") or ""
        data = tuple(key for key, asset in document["assets"].items() if _is_data(asset))
        return Item(str(document.get("id", "")), str(moment), bands, data)


def _name(element: str) -> str:
    return "the item" if element.startswith("{") else shown_name(element)


def _self_href(document: Mapping[str, Any]) -> str:
    with damage_refused("the item", "a STAC item"):
        links = document.get("links") or ()
        return next((str(link["href"]) for link in links if link.get("rel") == "self"), "")


def _is_data(asset: Mapping[str, Any]) -> bool:
    roles = set(asset.get("roles") or ())
    return "data" in roles and not roles & PICTURES and str(asset.get("type") or "").startswith(RASTER_TYPES)


def _bands_of(document: Mapping[str, Any], key: str, own: str) -> Iterator[AssetBand]:
    """Yield the bands of an asset, by STAC 1.0 (eo:bands, raster:bands) or 1.1 (bands)."""
    asset = document["assets"][key]
    href = str(asset["href"])
    if not is_url(href) and not PurePath(href).is_absolute() and not own:
        msg = f"the address of asset {key!r} is relative to an item without an address"
        raise ValueError(msg)
    href = beside(own, href)
    eo, raster = (asset.get(name) or [] for name in ("eo:bands", "raster:bands"))
    told = asset.get("bands") or [
        {**(raster[i] if i < len(raster) else {}), **(eo[i] if i < len(eo) else {})}
        for i in range(max(len(eo), len(raster)))
    ]
    if not told:
        yield AssetBand(key, href, None, _names_in(asset), *_numbers_in(asset), is_alone=True)
    for number, band in enumerate(told, 1):
        both = {**{name: asset[name] for name in OF_ALL_BANDS if name in asset}, **band}
        is_alone = len(told) == 1
        # a single band is the whole file, which may hold a mask beside it
        yield AssetBand(
            key, href, None if is_alone else number, _names_in(both), *_numbers_in(both), is_alone
        )


def _names_in(told: Mapping[str, Any]) -> tuple[str, ...]:
    found = (told.get(name) for name in ("name", "eo:common_name", "common_name"))
    return tuple(dict.fromkeys(str(name) for name in found if name))


def _numbers_in(told: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Return nodata value, scale and offset, as far as they are said."""
    scale, offset = (told.get(f"raster:{name}", told.get(name)) for name in ("scale", "offset"))
    return _number(told.get("nodata")), _number(scale), _number(offset)


def _number(value: Any) -> float | None:
    """Return a finite number: nodata values "nan" and "inf" are missing whatever is said."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
