"""The size of pixels that a model was trained at."""

from __future__ import annotations

from segment_tiles.pipeline.models.packages.manifest import ModelManifest

MICROMETERS = {"micrometer": 1.0, "millimeter": 1000.0}
"""Of the units in which a model may state its pixel size; models of the Earth's surface use metres."""
PIXEL_SIZE_TOLERANCE = 1.5
"""Factor between the pixel sizes of model and source above which the user is warned."""
RESAMPLED_BEYOND = 1.25
"""Factor between the pixel sizes of model and raster, either way, above which the raster is resampled."""


def is_unlike(size: tuple[float, float], wanted: float) -> bool:
    """Return whether a raster with pixels of this height and width is resampled for a model trained at another size."""
    return any(max(side / wanted, wanted / side) > RESAMPLED_BEYOND for side in size)


def model_mpp(manifest: ModelManifest) -> float | None:
    """Return the micrometres per pixel that a model was trained at; None if it has no such size."""
    factor = MICROMETERS.get(manifest.pixel_unit)
    return None if manifest.pixel_size is None or factor is None else manifest.pixel_size * factor


def model_metres(manifest: ModelManifest) -> float | None:
    """Return the metres per pixel that a model was trained at; None if it has no such size."""
    return manifest.pixel_size if manifest.pixel_unit == "m" else None
