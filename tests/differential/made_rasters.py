"""Small rasters of many kinds, each written as its own tools write it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning

NORTH_UP = rasterio.Affine(10, 0, 500000, 0, -10, 5000000)
HEIGHT, WIDTH = 61, 75
BLANK = (slice(20, 40), slice(10, 50))
"""Rows and columns without data in most of the rasters."""


def noise(bands: int = 1, dtype: str = "uint8", low: int = 1, high: int = 250, seed: int = 0) -> NDArray[Any]:
    """Return bands x HEIGHT x WIDTH of whole numbers from ``low`` to ``high``."""
    return np.random.default_rng(seed).integers(low, high + 1, (bands, HEIGHT, WIDTH)).astype(dtype)


def blanked(values: NDArray[Any], value: float | Sequence[float]) -> NDArray[Any]:
    """Return a copy with one value, or one for each band, in BLANK."""
    copy = values.copy()
    for band, mark in enumerate(np.broadcast_to(value, len(values))):
        copy[band][BLANK] = mark
    return copy


def write(
    path: Path,
    values: NDArray[Any],
    *,
    crs: Any = "EPSG:32633",
    transform: rasterio.Affine | None = NORTH_UP,
    names: Sequence[str] = (),
    colors: Sequence[ColorInterp] = (),
    mask: NDArray[np.bool_] | None = None,
    overviews: Sequence[int] = (),
    gcps: tuple[list[GroundControlPoint], Any] | None = None,
    scales: Sequence[float] = (),
    offsets: Sequence[float] = (),
    environment: dict[str, Any] | None = None,
    **profile: Any,
) -> Path:
    """Write bands x rows x columns; options as rasterio names them."""
    place = {"crs": crs, **({} if transform is None else {"transform": transform})}
    settings = {"driver": "GTiff", **({} if gcps else place), **profile}
    with warnings.catch_warnings(), rasterio.Env(**(environment or {})):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", count=values.shape[0], height=values.shape[1], width=values.shape[2],
            dtype=values.dtype.name, **settings,
        ) as dataset:  # fmt: skip
            if colors:
                dataset.colorinterp = colors
            dataset.write(values)
            for band, name in enumerate(names, 1):
                dataset.set_band_description(band, name)
            if mask is not None:
                dataset.write_mask(mask)
            if gcps:
                dataset.gcps = gcps
            if scales:
                dataset.scales, dataset.offsets = scales, offsets
        if overviews:
            with rasterio.open(path, "r+") as dataset:
                dataset.build_overviews(overviews, Resampling.nearest)
    return path


def vrt(path: Path, source: Path, bands: Sequence[str], head: str = "") -> Path:
    """Write a VRT whose bands are the XML given, each with ``{band}`` of one source in it."""
    parts = []
    for number, inside in enumerate(bands, 1):
        dtype, _, rest = inside.partition("|")
        parts.append(
            f'<VRTRasterBand dataType="{dtype}" band="{number}">{rest}<SimpleSource>'
            f'<SourceFilename relativeToVRT="1">{source.name}</SourceFilename><SourceBand>{number}</SourceBand>'
            "</SimpleSource></VRTRasterBand>"
        )
    path.write_text(
        f'<VRTDataset rasterXSize="{WIDTH}" rasterYSize="{HEIGHT}">{head}{"".join(parts)}</VRTDataset>'
    )
    return path


PLACE = '<SRS dataAxisToSRSAxisMapping="1,2">EPSG:32633</SRS><GeoTransform>500000,10,0,5000000,0,-10</GeoTransform>'
"""Head of a VRT on the usual grid."""


def control_points(affine: rasterio.Affine, crs: Any) -> tuple[list[GroundControlPoint], Any]:
    """Return ground control points at the corners and in the middle."""
    places = [(0, 0), (0, WIDTH), (HEIGHT, 0), (HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2)]
    points = [(row, column, affine * (column, row)) for row, column in places]
    return [
        GroundControlPoint(row=row, col=column, x=x, y=y) for row, column, (x, y) in points
    ], rasterio.crs.CRS.from_user_input(crs)


def expected_valid(dataset: Any, values: NDArray[Any], bands: Sequence[int], rule: str) -> NDArray[np.bool_]:
    """Return which pixels hold data by rasterio's masks, values that are finite, and a band tagged alpha.

    A mask of all bands hides a pixel; of masks of single bands, that of all or of any band does.
    """
    masks = np.stack([dataset.read_masks(band) > 0 for band in bands])
    flags = [set(dataset.mask_flag_enums[band - 1]) for band in bands]
    shared = np.array([MaskFlags.per_dataset in f for f in flags])
    per_band = (masks | shared[:, np.newaxis, np.newaxis]) & np.isfinite(values)
    valid: NDArray[np.bool_] = per_band.any(axis=0) if rule == "all" else per_band.all(axis=0)
    valid = valid & masks[shared].all(axis=0)
    tagged = [i for i, kind in enumerate(dataset.colorinterp, 1) if kind == ColorInterp.alpha]
    for band in tagged:
        if band not in bands:
            valid = valid & (dataset.read(band) > 0)
    return valid
