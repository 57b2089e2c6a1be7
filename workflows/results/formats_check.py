"""The one check of formats: what the source, its CRS and this installation allow, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Final

from segment_tiles.pipeline.errors import MissingExtraError, UsageError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.vectors.files.formats import VECTOR_FORMATS
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.results.image_formats import check_image_formats, default_image_formats
from segment_tiles.workflows.results.volume_formats import suitable_formats
from segment_tiles.workflows.scenes.scene import Scene

LIBRARIES: Final[Mapping[str, tuple[str, str]]] = {
    "ome-tiff": ("tifffile", "slides"),
    "nifti": ("nibabel", "medical"),
    "dicom-seg": ("highdicom", "dicom"),
}
"""Module that a format needs, and the extra that brings it."""
RASTER_DRIVERS: Final[Mapping[str, str]] = {"cog": "COG"}
"""GDAL driver that a raster format needs."""


def checked_formats(config: RunConfig, scene: Scene) -> tuple[str, ...]:
    """Return the formats of a run: as asked, or what suits the source.

    Raises
    ------
    UsageError, OutputError
        Where one cannot be made of this source.
    MissingExtraError
        Where this installation lacks what one needs.
    """
    asked = config.formats or default_image_formats(scene)
    formats = suitable_formats(asked, scene.uri, scene.volume)
    check_image_formats(config, scene)
    check_formats(formats, scene.georef, scene.uri)
    return formats


def check_formats(formats: Sequence[str], georef: GeoRef, raster: str) -> None:
    """Refuse formats that cannot hold the CRS of a raster, or that need what this installation lacks.

    Parameters
    ----------
    formats
        By their names on the command line.
    georef
        Of the raster.
    raster
        Name of the raster, for the message.

    Raises
    ------
    UsageError, MissingExtraError
        Naming the format, and what to do.
    """
    vectors = {known.name: known for known in VECTOR_FORMATS}
    for name in formats:
        if name in vectors:
            vectors[name].check_crs(raster, georef.crs)
        module, extra = LIBRARIES.get(name, (None, None))
        if module is not None and find_spec(module) is None:
            msg = f"--format names {name}, which needs {module}; install it with: pip install 'segment-tiles[{extra}]'"
            raise MissingExtraError(msg)
    drivers = {name: vectors[name].driver for name in formats if name in vectors}
    _check_drivers({name: driver for name, driver in drivers.items() if driver is not None}, "vector")
    _check_drivers({name: RASTER_DRIVERS[name] for name in formats if name in RASTER_DRIVERS}, "raster")


def _check_drivers(drivers: Mapping[str, str], kind: str) -> None:
    """Refuse formats whose driver the GDAL of this installation lacks: not every build of GDAL has all."""
    if not drivers:
        return
    available = _vector_drivers() if kind == "vector" else _raster_drivers()
    for name, driver in drivers.items():
        if driver not in available:
            msg = (
                f"--format names {name}, but the GDAL of this installation has no driver {driver}; use another format, "
                f"or {'pyogrio' if kind == 'vector' else 'rasterio'} from PyPI or conda-forge, which brings it"
            )
            raise UsageError(msg)


def _vector_drivers() -> set[str]:
    import pyogrio  # noqa: PLC0415 - brings pandas, which a run without such a format does not need yet

    return set(pyogrio.list_drivers(write=True))


def _raster_drivers() -> set[str]:
    import rasterio  # noqa: PLC0415

    with rasterio.Env() as environment:
        return set(environment.drivers())
