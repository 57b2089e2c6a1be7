"""``item.json``: the result of a run as a STAC 1.1 item, so that catalogues can hold and search it.

Extensions: projection (where), classification (what the codes mean), raster (sampling and resolution), file
(checksum and size of every asset), processing (level L4 and the model, in the form that the best practices
of the MLM extension give).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pystac
from pystac.extensions.projection import ProjectionExtension

from segment_tiles.pipeline.errors import OutputError, one_line
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.ground import ground_of
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.models.packages.checksum import sha256_of_file
from segment_tiles.pipeline.models.packages.stac_fields import (
    CLASSIFICATION_SCHEMA,
    FILE_SCHEMA,
    LONG_AGO,
    file_fields,
    stac_text,
)
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.outputs.footprint import footprint
from segment_tiles.pipeline.outputs.stac_classes import described_classes
from segment_tiles.pipeline.outputs.stores.conventions import crs_attributes

PROCESSING_SCHEMA: Final = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
RASTER_SCHEMA: Final = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a result comes from."""

    sources: tuple[str | None, ...]
    """Href of the raster that was segmented: a URL, or relative to the item; None if it is elsewhere on a machine."""
    model: str | None
    """Href of the model's STAC item, ``model.json``, likewise."""
    model_name: str
    """Name of the model."""
    created: datetime
    """When the run ended, with a time zone."""
    software: Mapping[str, str]
    """Versions by name of program."""
    mask: tuple[str | None, str, str] | None = None
    """Of a model that limited the map: href and name, as of the model, and what it did; None: there was none."""
    source_name: str = "a raster"
    """Name of that raster without its folder."""
    acquired: datetime | tuple[datetime, datetime] | None = None
    """When the scene was taken, or first and last moment; None if unknown."""


@dataclass(frozen=True, slots=True)
class ItemFile:
    """A result beside the item, and what is said of it."""

    path: Path
    key: str
    """Of the asset."""
    title: str
    media_type: str
    roles: tuple[str, ...] = ("data",)
    is_class_raster: bool = False
    """Whether its pixels are class codes."""
    own_classes: tuple[ClassTable, Sequence[int]] | None = None
    """Its classes and their pixels, if they are others than those of the store."""
    own_grid: tuple[GeoRef, tuple[int, int]] | None = None
    """Where its pixels lie, and their rows and columns, if they are not those of the store."""


def write_item(
    path: Path,
    files: Sequence[ItemFile],
    *,
    georef: GeoRef,
    shape: tuple[int, int],
    table: ClassTable,
    pixel_counts: Sequence[int],
    provenance: Provenance,
) -> None:
    """Write the STAC item of a result.

    Parameters
    ----------
    path
        The item; its id is the name of the folder it stands in.
    files
        Results beside it that exist; they become the assets, in this order.
    georef, shape
        Georeference of the class map; its rows and columns.
    table, pixel_counts
        Classes, and pixels of each in the order of codes.
    provenance
        Source, model, times, software.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    item = _new_item(path.absolute().parent.name, georef, shape, provenance)
    item.properties["processing:expression"] = {
        "format": "stac-mlm",
        "expression": provenance.model or provenance.model_name,
    }
    item.add_links(_derived_from(provenance))
    _write(path, item, files, georef, shape, table, pixel_counts)


def update_item(
    path: Path,
    files: Sequence[ItemFile],
    *,
    georef: GeoRef,
    shape: tuple[int, int],
    table: ClassTable,
    pixel_counts: Sequence[int],
) -> None:
    """Give an item the assets of the results that stand beside it now; what else it says stays.

    The parameters are those of `write_item`.

    Raises
    ------
    OutputError
        If the item cannot be read.
    WriteFailedError
        If the disk is full or read-only.
    """
    item = read_item(path)
    item.assets.clear()
    _write(path, item, files, georef, shape, table, pixel_counts)


def read_item(path: Path) -> pystac.Item:
    """Return the STAC item of a result.

    Raises
    ------
    OutputError
        If it is damaged.
    """
    try:
        return pystac.Item.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except _NO_ITEM as error:
        msg = (
            f"{path}: is no STAC item that can be read ({type(error).__name__}: {one_line(error)}); remove it and "
            "start the same run again, which writes it anew"
        )
        raise OutputError(msg) from error


_NO_ITEM: Final = (
    OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError,
    pystac.errors.STACError, pystac.errors.STACTypeError, pystac.errors.RequiredPropertyMissing,
    pystac.errors.ExtensionTypeError, pystac.errors.DuplicateObjectKeyError,
)  # fmt: skip
"""What pystac raises for a document that is none: it checks little, and trips over the rest."""


def _write(
    path: Path,
    item: pystac.Item,
    files: Sequence[ItemFile],
    georef: GeoRef,
    shape: tuple[int, int],
    table: ClassTable,
    pixel_counts: Sequence[int],
) -> None:
    classes = described_classes(table, pixel_counts)
    for file in files:
        item.add_asset(*_asset(file, table, classes, georef, shape))
    with finished_file(path) as partial:
        partial.write_text(stac_text(item), encoding="utf-8")


def _new_item(identifier: str, georef: GeoRef, shape: tuple[int, int], provenance: Provenance) -> pystac.Item:
    geometry, bbox = footprint(georef, shape) or (None, None)
    moment, first, last = _times(provenance)
    item = pystac.Item(
        id=identifier,
        geometry=geometry,
        bbox=bbox,
        datetime=moment,
        start_datetime=first,
        end_datetime=last,
        properties={
            "created": pystac.utils.datetime_to_str(provenance.created),
            "processing:level": "L4",
            "processing:lineage": _lineage(provenance),
            "processing:software": dict(provenance.software),
        },
        stac_extensions=[CLASSIFICATION_SCHEMA, FILE_SCHEMA, PROCESSING_SCHEMA, RASTER_SCHEMA],
    )
    crs = crs_attributes(georef)
    ProjectionExtension.ext(item, add_if_missing=True).apply(
        # null says that there is no CRS, or none with a code
        code=crs.get("proj:code"),
        wkt2=crs.get("proj:wkt2"),
        shape=list(shape),
        transform=list(georef.transform),
        bbox=list(georef.bounds(Window(0, 0, *shape))),
    )
    return item


def _lineage(provenance: Provenance) -> str:
    made = f"semantic segmentation of {provenance.source_name} with the model {provenance.model_name}"
    return (
        made if provenance.mask is None else f"{made}, {provenance.mask[2]} by the model {provenance.mask[1]}"
    )


def _times(provenance: Provenance) -> tuple[datetime | None, datetime | None, datetime | None]:
    """Return datetime, start and end: of a scene of unknown time it is certain only that the run came later."""
    acquired = provenance.acquired
    if isinstance(acquired, datetime):
        return acquired, None, None
    first, last = acquired or (LONG_AGO, provenance.created)
    return None, first, last


def _asset(
    file: ItemFile, table: ClassTable, classes: list[dict[str, Any]], georef: GeoRef, shape: tuple[int, int]
) -> tuple[str, pystac.Asset]:
    fields: dict[str, Any] = {}
    if file.path.is_file():  # a Zarr store is a folder: it has neither a checksum nor one size
        fields |= file_fields(sha256_of_file(file.path), file.path.stat().st_size)
    if file.own_grid is not None:
        georef, shape = file.own_grid
        fields |= {
            "proj:wkt2": georef.crs_wkt,
            "proj:shape": list(shape),
            "proj:transform": list(georef.transform),
        }
    if file.is_class_raster:
        fields["raster:sampling"] = "area"
        resolution = _resolution_in_metres(georef, shape)
        if resolution is not None:
            fields["raster:spatial_resolution"] = resolution
        if file.own_classes is not None:
            table, classes = file.own_classes[0], described_classes(*file.own_classes)
        fields["bands"] = [{"name": "classes", "data_type": table.dtype, "nodata": table.nodata}]
        fields["classification:classes"] = classes
    asset = pystac.Asset(
        href=f"./{file.path.name}",
        title=file.title,
        media_type=file.media_type,
        roles=list(file.roles),
        extra_fields=fields,
    )
    return file.key, asset


def _resolution_in_metres(georef: GeoRef, shape: tuple[int, int]) -> float | None:
    """Side of a square of the area that a pixel in the middle has on the ground; None if there is no CRS."""
    ground = ground_of(georef)
    if ground is None:
        return None
    middle = Window(shape[0] // 2, shape[1] // 2, 1, 1)
    side = float(ground.pixel_areas(georef, [middle])[0] ** 0.5)
    return side if side > 0 else None


def _derived_from(provenance: Provenance) -> list[pystac.Link]:
    links = []
    for source in filter(None, provenance.sources):
        links.append(pystac.Link(pystac.RelType.DERIVED_FROM, source, title="Source raster"))
    models = [("Model", provenance.model, provenance.model_name)]
    if provenance.mask is not None:
        models.append(("Model of the mask", *provenance.mask[:2]))
    for what, href, name in models:
        if href is not None:
            link = pystac.Link(
                pystac.RelType.DERIVED_FROM,
                href,
                media_type=pystac.MediaType.GEOJSON,
                title=f"{what} {name}",
                extra_fields={"mlm:name": name},
            )
            links.append(link)
    return links
