"""An array in memory and a model brought together, as a raster without a file."""

from __future__ import annotations

from segment_tiles.pipeline.sources.view import WHOLE
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.scenes.cut import Cut
from segment_tiles.workflows.scenes.rasters.bands import Opened, choose_bands
from segment_tiles.workflows.scenes.rasters.kind import RASTER
from segment_tiles.workflows.scenes.rasters.opener import RasterOpener
from segment_tiles.workflows.scenes.rasters.opening import raster_warnings
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
    lattice = models.lattice(spec)
    # nobody opens it: there is no such file
    opener = RasterOpener(config.source, bands, config.nodata, config.nodata_rule, config.alpha, 0, WHOLE)
    return Scene(
        config.source,
        RASTER.name,
        (Cut("array", spec, lattice, spec.window, opener),),
        bands,
        models.manifest,
        models.folder,
        (*notes, *raster_warnings(spec, models.manifest, of_array=True), *models.notes),
        companions=models.companions,
    )
