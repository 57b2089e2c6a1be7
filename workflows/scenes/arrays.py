"""An array in memory and a model brought together, as a raster without a file."""

from __future__ import annotations

from dataclasses import replace

from segment_tiles.pipeline.sources.resampling.resampled_source import resampled_spec
from segment_tiles.pipeline.sources.view import WHOLE
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.scenes.cut import Cut, ResultGrid
from segment_tiles.workflows.scenes.rasters.bands import Opened, choose_bands
from segment_tiles.workflows.scenes.rasters.kind import RASTER
from segment_tiles.workflows.scenes.rasters.opener import RasterOpener
from segment_tiles.workflows.scenes.rasters.opening import raster_warnings
from segment_tiles.workflows.scenes.rasters.resolution import metres_wanted
from segment_tiles.workflows.scenes.rasters.result_grid import map_to
from segment_tiles.workflows.scenes.scene import Scene, open_models


def scene_of_array(config: RunConfig, opened: Opened) -> Scene:
    """Return array and model, checked against each other.

    Parameters
    ----------
    config
        What is asked for; its source is a name for messages.
    opened
        Gives the spec of the bands that a configuration names.

    Raises
    ------
    SourceError, ModelError, UsageError
        If model, options and array do not fit each other.
    """
    models = open_models(config)
    bands, spec, notes = choose_bands(config, models.manifest, opened)
    metres, resampled = metres_wanted(config, models.manifest, spec)
    read = spec if metres is None else resampled_spec(spec, metres, config.source)
    # nobody opens it: there is no such file
    view = replace(WHOLE, metres=metres)
    opener = RasterOpener(config.source, bands, config.nodata, config.nodata_rule, config.alpha, 0, view)
    grid = None if read is spec else ResultGrid(spec, map_to(spec, read), replace(opener, view=WHOLE))
    return Scene(
        config.source,
        RASTER.name,
        (Cut("array", read, models.lattice(read), spec.window, opener, result_grid=grid),),
        bands,
        models.manifest,
        models.folder,
        (*notes, *resampled, *raster_warnings(read, models.manifest), *models.notes),
        view=view,
        companions=models.companions,
    )
