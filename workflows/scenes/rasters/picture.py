"""The preview of a raster or slide: its scene and its class map, decimated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.pictures.display_colors import display_rgb
from segment_tiles.pipeline.outputs.pictures.preview import write_preview
from segment_tiles.pipeline.outputs.pictures.scale_bar import ground_pixel_width
from segment_tiles.pipeline.outputs.stores.store import array_of
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.workflows.scenes.scene import Scene

LONGEST_SIDE = 1200
"""Rows or columns up to which a level is small enough to draw."""


def opened_plane(scene: Scene) -> Source:
    """Open the plane of a scene as its run reads it; it is to be closed.

    Raises
    ------
    SourceError
        If it cannot be opened.
    """
    (source,) = scene.result.opener.open().sources((0,))
    return source


def write_run_preview(path: Path, scene: Scene, group: zarr.Group, report: Mapping[str, Any]) -> None:
    """Draw scene and class map from the largest overview that is small enough."""
    level, classes = _small_level(group)
    source = opened_plane(scene)
    try:
        values, valid = source.thumbnail(scene.roi, (classes.shape[0], classes.shape[1]))
    finally:
        source.close()
    width, unit = ground_pixel_width(scene.georef, scene.roi.shape)
    counts = [*(entry["pixels"] for entry in report["classes"]), report["nodata"]["pixels"]]
    write_preview(
        display_rgb(values, valid, scene.spec.band_names or scene.manifest.bands),
        classes,
        scene.manifest.classes,
        path,
        title=Path(shown_name(scene.uri)).name,
        subtitle=f"model {scene.manifest.name}, {scene.roi.height:,} x {scene.roi.width:,} px",
        pixel_width=width * 2**level,
        unit=unit,
        pixel_counts=counts,
    )


def _small_level(group: zarr.Group) -> tuple[int, NDArray[Any]]:
    """Return the first level that is small enough, and its class codes."""
    level, array = 0, array_of(group, "classes")
    while max(array.shape) > LONGEST_SIDE and f"{level + 1}/classes" in group:
        level += 1
        array = array_of(group, f"{level}/classes")
    return level, np.asarray(array[:])
