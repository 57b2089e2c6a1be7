"""The preview of a raster or slide: its scene and its class map, decimated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.names import title_of
from segment_tiles.pipeline.outputs.pictures.display_colors import display_rgb
from segment_tiles.pipeline.outputs.pictures.preview import write_preview
from segment_tiles.pipeline.outputs.pictures.scale_bar import ground_pixel_width
from segment_tiles.pipeline.outputs.stores.store import array_of
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.scenes.rasters.thumbnail import opened_on_grid, seen_thumbnail, small_level
from segment_tiles.workflows.scenes.scene import Scene


def write_run_preview(
    path: Path, scene: Scene, directory: OutputDirectory, group: zarr.Group, report: Mapping[str, Any]
) -> None:
    """Draw scene and class map from the largest overview that is small enough."""
    level, shape = small_level(scene.roi.shape)
    classes = np.asarray(array_of(group, f"{level}/classes" if level else "classes")[:])
    grid = scene.result.thumbnail
    rgb = (
        _overview_rgb(scene, shape)
        if grid is None
        else display_rgb(*seen_thumbnail(scene, grid, directory, group))
    )
    width, unit = ground_pixel_width(scene.georef, scene.roi.shape)
    counts = [*(entry["pixels"] for entry in report["classes"]), report["nodata"]["pixels"]]
    write_preview(
        rgb,
        classes,
        scene.classes,
        path,
        title=title_of(scene.uri),
        subtitle=f"model {scene.manifest.name}, {scene.roi.height:,} x {scene.roi.width:,} px",
        pixel_width=width * 2**level,
        unit=unit,
        pixel_counts=counts,
    )


def _overview_rgb(scene: Scene, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the colours of an overview of the source."""
    source = opened_on_grid(scene)
    try:
        values, valid = source.thumbnail(scene.roi, shape)
    finally:
        source.close()
    return display_rgb(values, valid, scene.spec.band_names or scene.manifest.bands)
