"""What the report says of a raster or slide: pixels and areas of every class, and what was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.reclass import positions_of
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.stores.class_masks import ClassMasks, masks_of
from segment_tiles.pipeline.outputs.stores.store import array_of
from segment_tiles.pipeline.sources.areas.tissue import TissueMask
from segment_tiles.workflows.scenes.rasters.areas import (
    Codes,
    area_unit,
    class_areas,
    mask_shards,
    planar_areas,
)
from segment_tiles.workflows.scenes.scene import Scene


def raster_source(scene: Scene) -> dict[str, Any]:
    """Return what was read: bands, size, type and window."""
    spec, grid, roi = scene.spec, scene.grid_spec, scene.roi
    return {
        "uri": shown_name(scene.uri),
        "bands": list(scene.bands),
        "height": grid.height,
        "width": grid.width,
        "dtype": spec.dtype,
        "nodata": spec.nodata_summary,
        "window": [roi.row, roi.column, roi.height, roi.width],
        **_resampled(scene),
        **({"coarser": scene.result.coarser} if scene.result.coarser > 1 else {}),
        **slide_facts(spec, scene.level, scene.tissue),
    }


def _resampled(scene: Scene) -> dict[str, Any]:
    """Return at which size of pixels a raster on the ground was computed; {} if it was read as it is."""
    spec = scene.spec
    if scene.view.metres is None:
        return {}
    read = {
        "metres_per_pixel": scene.view.metres,
        "height": spec.height,
        "width": spec.width,
        "level": scene.level,
    }
    return {"resampled": {**read, "grid": "model" if scene.result.result_grid is None else "source"}}


def read_as(scene: Scene) -> str:
    """Return what a summary says of the pixels that are computed, if they are not those of the result."""
    if scene.result.result_grid is None and scene.result.coarser == 1:
        return ""
    return f"; computed on {scene.spec.height:,} x {scene.spec.width:,} px"


def raster_classes(
    scene: Scene, shards: Mapping[tuple[int, int], Sequence[int]], codes: Codes
) -> dict[str, Any]:
    """Return counts of pixels and areas of all classes and of nodata.

    Parameters
    ----------
    scene
        What was segmented.
    shards
        Counts by (shard row, shard column), from the ledger; nodata last.
    codes
        Reads class codes of a window of the result.
    """
    table, georef = scene.classes, scene.georef
    counts = [sum(column) for column in zip(*shards.values(), strict=True)] or [0] * (table.count + 1)
    areas = class_areas(
        shards, scene.roi.shape, georef, lambda window: positions_of(table, codes(window))
    ) or [0.0] * (table.count + 1)
    planar = planar_areas(counts, georef)
    sizes = [
        {"pixels": pixels, "area": area} | ({} if planar is None else {"area_planar": planar[number]})
        for number, (pixels, area) in enumerate(zip(counts, areas, strict=True))
    ]
    return {
        "area_unit": area_unit(georef),
        "classes": [
            {"code": entry.code, "name": entry.name, **size}
            for entry, size in zip(table.classes, sizes[:-1], strict=True)
        ],
        "nodata": {"code": table.nodata, **sizes[-1]},
    }


def mask_sizes(
    table: ClassTable, georef: GeoRef, shards: Mapping[tuple[int, int], Sequence[int]], group: zarr.Group
) -> dict[str, Any]:
    """Return pixels and area of each class that may overlap others, from its mask; {} if there are no masks.

    Parameters
    ----------
    table, georef
        Of the result.
    shards
        By (shard row, shard column): those that are there.
    group
        The store.
    """
    masks = masks_of(group)
    if masks is None:
        return {}
    rows, columns = array_of(group, "classes").shape
    shape, sizes = (rows, columns), []
    for code in masks.of_classes:
        of_class = partial(masks.read, code)
        counted = mask_shards(shards, shape, of_class)
        count = sum(has for has, _ in counted.values())
        areas = class_areas(counted, shape, georef, partial(_as_codes, masks, code))
        planar = planar_areas([count], georef)
        name = next(entry.name for entry in table.classes if entry.code == code)
        size = {"code": code, "name": name, "pixels": count, "area": areas[0] if areas else 0.0}
        sizes.append(size | ({} if planar is None else {"area_planar": planar[0]}))
    return {"masks": sizes}


def _as_codes(masks: ClassMasks, code: int, window: Window) -> NDArray[np.uint8]:
    """Return 0 for pixels that have a class, and 255 for all others."""
    return np.where(masks.read(code, window), 0, 255).astype(np.uint8)


def slide_facts(spec: RasterSpec, level: int, tissue: TissueMask | Path | None) -> dict[str, Any]:
    """Return what a report tells of the resolution of a source and of the tissue in it; {} of other rasters."""
    facts: dict[str, Any] = {}
    full, own = spec.georef.full_resolution, spec.georef.transform
    if spec.georef.unit == "micrometer" and full is not None:
        facts["micrometers_per_pixel"] = {
            "full_resolution": [full[0], abs(full[4])],
            "read": [own[0], abs(own[4])],
        }
    if spec.levels:
        facts["levels"] = [list(shape) for shape in spec.levels]
        facts["level"] = level
    if isinstance(tissue, TissueMask):
        facts["tissue"] = {"method": "otsu", "saturation_above": tissue.threshold, "share": tissue.share}
    elif tissue is not None:
        facts["tissue"] = {"method": "polygons", "file": str(tissue)}
    return facts
