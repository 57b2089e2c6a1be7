"""Class codes of NumPy and Dask arrays."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from segment_tiles.pipeline.errors import SourceError, UsageError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.sources.resampling.looked_at import SIDE_LOOKED_AT
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.face.arrays.run import (
    ArrayRun,
    prepared_run,
    segmented_region,
)
from segment_tiles.workflows.face.progress import Progress, TileCount


def is_dask(values: object) -> bool:
    """Return whether an array is one of Dask, which is then imported already."""
    module = sys.modules.get("dask.array")
    return module is not None and isinstance(values, module.Array)


def bands_first(image: Any, config: RunConfig) -> Any:
    """Return a plain array as bands x rows x columns.

    Raises
    ------
    SourceError
        If it is no such array, or it cannot be told which axis is that of the bands.
    """
    if image.ndim == 2:
        return image[np.newaxis]
    wanted = len(load_manifest(find_model(config.model)).bands)
    if image.ndim != 3:
        msg = f"the array has shape {image.shape}; it must be bands x rows x columns"
        raise SourceError(msg)
    if config.bands is None and image.shape[2] == wanted and image.shape[0] != wanted:
        msg = (
            f"the array has shape {image.shape}, which looks like rows x columns x bands; bands come first: give "
            "numpy.moveaxis(image, -1, 0)"
        )
        raise SourceError(msg)
    if config.bands is None and image.shape[0] == image.shape[2] == wanted:
        msg = (
            f"the array has shape {image.shape}: its first axis could be the bands, and its last one too; if it is "
            f"bands x rows x columns, say so with bands={tuple(range(1, wanted + 1))}"
        )
        raise SourceError(msg)
    return image


def plain_spec(values: Any) -> RasterSpec:
    """Return what is known of an array bands x rows x columns that has no position in the world."""
    bands, height, width = values.shape
    return RasterSpec(bands, height, width, values.dtype.name, GeoRef.of_pixels())


def class_codes(
    values: Any, spec: RasterSpec, config: RunConfig, progress: Progress | None
) -> tuple[Any, ClassTable]:
    """Return class codes, rows x columns, and what they mean; of a Dask array lazily.

    Of classes that may overlap masks, classes x rows x columns, and the classes of the model.

    Parameters
    ----------
    values
        bands x rows x columns: NumPy, masked or not, or Dask.
    spec
        What is known of all its bands.
    config
        What is asked for.
    progress
        Told of tiles; not of a lazy array.

    Raises
    ------
    SegmentTilesError
        If array, model and options do not fit each other.
    """
    if is_dask(values) and progress is not None:
        msg = (
            "progress is given, but the array is lazy: use dask.diagnostics.ProgressBar while it is computed"
        )
        raise UsageError(msg)
    if not is_dask(values):
        values = np.asanyarray(values)

    run = prepared_run(config, spec, lambda of, side: _sample(_chosen(values, of), side))
    chosen = _chosen(values, run.spec)
    if is_dask(values):
        from segment_tiles.workflows.face.arrays.lazy import lazy_classes  # noqa: PLC0415 - brings Dask, which is there then

        return lazy_classes(chosen, run), _meaning(run)
    told = None if progress is None else TileCount(progress, run.lattice.count).add
    return segmented_region(chosen, run, run.spec.window, run.spec.window, on_tiles=told), _meaning(run)


def _meaning(run: ArrayRun) -> ClassTable:
    return run.model_classes if run.has_masks else run.table


def _chosen(values: Any, spec: RasterSpec) -> Any:
    """Return the bands of a spec, in its order; all of them without a copy."""
    indices = [number - 1 for number in spec.band_numbers]
    return values if indices == list(range(values.shape[0])) else values[indices]


def _sample(values: Any, side: int | None) -> Any:
    """Return all values that are there; of a lazy array up to four tiles about its middle, or (None) some of all."""
    if not is_dask(values):
        return values
    if side is None:
        down, across = (-(-size // SIDE_LOOKED_AT) for size in values.shape[1:])
        return np.asanyarray(values[:, ::down, ::across])
    rows, columns = (slice(max(0, size // 2 - side), size // 2 + side) for size in values.shape[1:])
    return np.asanyarray(values[:, rows, columns])
