"""Rasters: at which size of pixels they are read."""

from __future__ import annotations

from dataclasses import replace

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.resampling.pixel_size import pixel_size, shown_size
from segment_tiles.pipeline.sources.resampling.resampled_source import level_for
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.scenes.model_pixels import is_unlike, model_metres
from segment_tiles.workflows.scenes.rasters.bands import Facts, opened_at
from segment_tiles.workflows.scenes.rasters.opening import Resolution


def raster_resolution(config: RunConfig, manifest: ModelManifest, facts: Facts) -> Resolution:
    """Return the pixel size asked for, else the model's where the raster's is unlike it, else the raster's own.

    Raises
    ------
    UsageError
        If both a level and metres per pixel are asked for, or the raster cannot be read at that size.
    SourceError
        If it cannot be opened.
    """
    if config.level is not None and config.metres is not None:
        msg = (
            f"--level {config.level} and --resolution {config.metres:g} exclude each other; give one of them"
        )
        raise UsageError(msg)
    plain = Resolution(config.level or 0, config.view, _of_slides(config, manifest))
    may_be_resampled = config.metres is not None or model_metres(manifest) is not None
    if config.resolution == "native" or config.level is not None or not may_be_resampled:
        return plain
    spec, _ = opened_at(0, config.view, facts)(config)
    wanted, notes = metres_wanted(config, manifest, spec)
    if wanted is None:
        return plain
    # the mask of an overview is not that of the pixels below it, which the result keeps
    may_read_overview = spec.has_no_holes or config.grid == "model"
    coarser = level_for(
        spec, spec.reductions, wanted, shown_name(config.source)
    )  # refuses what cannot be read at that size
    notes = (*plain.notes, *notes)
    return Resolution(coarser if may_read_overview else 0, replace(config.view, metres=wanted), notes)


def metres_wanted(
    config: RunConfig, manifest: ModelManifest, spec: RasterSpec
) -> tuple[float | None, tuple[str, ...]]:
    """Return at how many metres per pixel a raster or an array is read, and what the user should know of it.

    None: as it is.
    """
    wanted = config.metres or model_metres(manifest)
    if config.resolution == "native" or wanted is None or config.metres is not None:
        return (None if config.resolution == "native" else wanted), ()
    size = pixel_size(spec)
    if size is None or not is_unlike(size, wanted):
        return None, ()
    note = (
        f"pixels are {shown_size(size)}, but model {manifest.name} was trained at {wanted:.3g} m: they are resampled "
        "to that for the model"
    )
    # a mask is computed at the pixels of its model, whatever is asked for of the map
    return wanted, (
        note if config.lies_on is not None else f"{note}; --resolution native reads them as they are",
    )


def _of_slides(config: RunConfig, manifest: ModelManifest) -> tuple[str, ...]:
    """Return a note if the model is one for slides, of a raster without micrometres."""
    if manifest.pixel_size is None or manifest.pixel_unit != "micrometer":
        return ()
    note = (
        f"{shown_name(config.source)}: says no micrometres per pixel, and model {manifest.name} was trained at "
        f"{manifest.pixel_size:g}; give the picture's own with --source-mpp"
    )
    return (note,)
