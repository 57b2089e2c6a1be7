"""Attributes of the Zarr conventions ``spatial:``, ``proj:`` and ``multiscales``, all at tag v0.1.

What they say of a store, and where each fact stands (each stands once only, as the section
"Property placement" of the ``spatial`` specification demands)::

    classes.zarr/            group: multiscales layout with shape and transform of every level, bbox, CRS
      classes, confidence    array: dimensions, shape, transform, CRS
      1/                     group: dimensions, bbox, CRS
        classes, confidence  array: dimensions, shape, transform, CRS
      2/ ...

The base level of the layout is named ``"."``: the specification wants a path relative to the group that
carries the attribute, forbids a leading ``/`` and ``..``, and full resolution lives in that group itself.
Every further level is a child group, so that all levels are referred to in the same style, as it advises.

The CRS is repeated on every node because ``proj:`` is handed down to direct children only and not every
reader does so. Specifications: https://github.com/zarr-conventions/spatial, /proj and /multiscales.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from pyproj import CRS

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window

DIMENSIONS: Final = ("y", "x")
"""Names of the spatial dimensions of every array, rows first."""

BASE_LEVEL: Final = "."
"""Name of full resolution in the multiscales layout: the group itself."""

REGISTRATION_TAG: Final = "v0.1"


def _registration(name: str, uuid: str, description: str) -> dict[str, str]:
    """Return the entry of ``zarr_conventions``; the schemas accept exactly these texts."""
    content = "https://raw.githubusercontent.com/zarr-conventions"
    pages = "https://github.com/zarr-conventions"
    return {
        "name": name,
        "uuid": uuid,
        "schema_url": f"{content}/{name}/refs/tags/{REGISTRATION_TAG}/schema.json",
        "spec_url": f"{pages}/{name}/blob/{REGISTRATION_TAG}/README.md",
        "description": description,
    }


SPATIAL: Final = _registration(
    "spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"
)
PROJ: Final = _registration(
    "proj",
    "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "Coordinate reference system information for geospatial data",
)
MULTISCALES: Final = _registration(
    "multiscales", "d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"
)


def crs_attributes(georef: GeoRef) -> dict[str, str]:
    """Return ``proj:code`` if an authority's code says exactly the same, else ``proj:wkt2``; {} without CRS.

    A code is written only if the CRS that it names equals ours: pyproj also proposes near matches.
    """
    return {} if georef.crs_wkt is None else dict(_crs_attributes(georef.crs_wkt))


@lru_cache(maxsize=64)
def _crs_attributes(wkt: str) -> dict[str, str]:
    crs = CRS.from_wkt(wkt)
    authority = crs.to_authority(min_confidence=100)
    if authority is not None and CRS.from_authority(*authority) == crs:
        return {"proj:code": ":".join(authority)}
    return {"proj:wkt2": crs.to_wkt("WKT2_2019")}


def group_attributes(
    georef: GeoRef, shape: tuple[int, int], levels: Sequence[tuple[int, int]] = ()
) -> dict[str, Any]:
    """Return the attributes of the root group.

    Parameters
    ----------
    georef
        Of full resolution.
    shape
        Rows and columns at full resolution.
    levels
        Rows and columns of the overviews 1, 2, ...; each has pixels twice as high and wide as the one before.
    """
    layout = [_layout_entry(georef, (shape, *levels)[level], level) for level in range(len(levels) + 1)]
    return {
        "zarr_conventions": [MULTISCALES, *_registrations(georef)],
        "multiscales": {"layout": layout, "resampling_method": "mode"},
        **_group_georeference(georef, shape),
    }


def overview_group_attributes(georef: GeoRef, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the attributes of the child group of an overview.

    Parameters
    ----------
    georef
        Of full resolution.
    shape
        Rows and columns at full resolution: the extent of the data, which the last row and column of an
        overview overhang if a side is odd.
    """
    return {"zarr_conventions": _registrations(georef), **_group_georeference(georef, shape)}


def array_attributes(georef: GeoRef, shape: tuple[int, int], level: int = 0) -> dict[str, Any]:
    """Return the attributes of an array whose last two dimensions are named y and x.

    Parameters
    ----------
    georef
        Of full resolution.
    shape
        Rows and columns of this array.
    level
        0 for full resolution, n for the overview in child group n.
    """
    return {
        "zarr_conventions": _registrations(georef),
        "spatial:dimensions": list(DIMENSIONS),
        "spatial:shape": list(shape),
        "spatial:transform_type": "affine",
        "spatial:transform": level_transform(georef, level),
        "spatial:registration": "pixel",
        **crs_attributes(georef),
    }


def level_transform(georef: GeoRef, level: int) -> list[float]:
    """Return a, b, c, d, e, f of a level: same corner, pixels ``2**level`` times higher and wider."""
    return list(georef.scaled(2**level, 2**level).transform)


def _layout_entry(georef: GeoRef, shape: tuple[int, int], level: int) -> dict[str, Any]:
    scale = 1.0 if level == 0 else 2.0
    entry: dict[str, Any] = {
        "asset": str(level) if level else BASE_LEVEL,
        "transform": {"scale": [scale, scale], "translation": [0.0, 0.0]},
        "spatial:shape": list(shape),
        "spatial:transform": level_transform(georef, level),
    }
    if level:
        entry["derived_from"] = str(level - 1) if level > 1 else BASE_LEVEL
    return entry


def _registrations(georef: GeoRef) -> list[dict[str, str]]:
    return [SPATIAL] if georef.crs_wkt is None else [SPATIAL, PROJ]


def _group_georeference(georef: GeoRef, shape: tuple[int, int]) -> dict[str, Any]:
    """Return what ``spatial`` allows on a group: names of dimensions and the bounding box; and the CRS."""
    return {
        "spatial:dimensions": list(DIMENSIONS),
        "spatial:bbox": list(georef.bounds(Window(0, 0, *shape))),
        **crs_attributes(georef),
    }
