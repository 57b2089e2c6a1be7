"""Rational polynomial coefficients (RPCs): at which height on the ground they place a raster."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from rasterio.transform import RPCTransformer
from rasterio.warp import transform_bounds

from segment_tiles.pipeline.errors import SourceError, UsageError, one_line
from segment_tiles.pipeline.library_messages import ignored_warnings
from segment_tiles.pipeline.names import is_url, shown_name
from segment_tiles.pipeline.sources.damage import GDAL_ERRORS

POSITIONS_ALONG: Final = 33
"""Of a side of the raster, by which is told for how much of it a DEM has heights."""
GROUND: Final = "EPSG:4326"
"""CRS in which RPCs place a pixel."""


@dataclass(frozen=True, slots=True)
class RpcHeights:
    """Heights at which the pixels of a raster lie; plain data, travels to workers.

    Raises
    ------
    UsageError
        If it is both a height and a DEM, or not a finite number.
    """

    metres: float | None = None
    """One for all, above the ellipsoid of WGS 84."""
    dem: str = ""
    """Path or URL of a raster of heights; empty: none."""

    def __post_init__(self) -> None:
        if self.metres is not None and self.dem:
            msg = (
                f"--rpc-height {self.metres:g} and --rpc-dem {shown_name(self.dem)} exclude each other; give one "
                "of them"
            )
            raise UsageError(msg)
        if self.metres is not None and not math.isfinite(self.metres):
            msg = f"--rpc-height is {self.metres}; give metres above the ellipsoid, such as 250"
            raise UsageError(msg)

    def options(self) -> dict[str, Any]:
        """Return GDAL's options for them.

        Raises
        ------
        SourceError
            If the DEM cannot be opened, has several bands, or has no CRS.
        """
        if self.metres is not None:
            return {"RPC_HEIGHT": self.metres}
        return {"RPC_DEM": _AsWritten(_gdal_name(self.dem))}

    def refuse_elsewhere(self, bounds: tuple[float, float, float, float]) -> None:
        """Refuse a DEM that has no height for any of these degrees: GDAL gives a grid without a pixel then.

        Raises
        ------
        SourceError
            If it lies elsewhere.
        """
        if not self.dem:
            return
        with _opened(self.dem) as dataset:
            west, south, east, north = transform_bounds(dataset.crs, GROUND, *dataset.bounds)
        # one that crosses 180 degrees has its west in the east
        if west <= east and not (
            west < bounds[2] and bounds[0] < east and south < bounds[3] and bounds[1] < north
        ):
            msg = (
                f"{shown_name(self.dem)}: the DEM covers {west:.6g} to {east:.6g} E, {south:.6g} to {north:.6g} N, "
                f"which is nothing of the raster near {bounds[0]:.6g} E, {bounds[1]:.6g} N; give --rpc-dem another"
            )
            raise SourceError(msg)

    def share_of(self, file: Any) -> float:
        """Return for which share of the pixels of a file with RPCs there is a height."""
        if not self.dem:
            return 1.0
        rows, columns = (
            np.linspace(0.5, side - 0.5, min(side, POSITIONS_ALONG)) for side in (file.height, file.width)
        )
        down, across = (side.ravel() for side in np.meshgrid(rows, columns, indexing="ij"))
        # positions without a height are warned of
        with ignored_warnings(), RPCTransformer(file.rpcs, RPC_DEM=_gdal_name(self.dem)) as model:
            # without a height GDAL takes the mean one on the way to the ground, but none on the way back
            ground = np.array(model.xy(down, across, offset="ul"))
            ground = ground[:, np.isfinite(ground).all(axis=0)]
            if not ground.size:
                return 0.0
            back = np.array(model.rowcol(*ground, op=np.float64))
        return float(np.isfinite(back).all(axis=0).sum() / down.size)

    def __str__(self) -> str:
        """Return it as notes say it."""
        if self.metres is not None:
            return f"at a height of {self.metres:g} m"
        return f"on the heights of {Path(shown_name(self.dem)).name}"


def heights_of(metres: float | None, dem: str | None) -> RpcHeights | None:
    """Return the heights that are asked for; None if nothing is.

    Raises
    ------
    UsageError
        As `RpcHeights`.
    """
    return RpcHeights(metres, dem or "") if metres is not None or dem else None


class _AsWritten(str):
    """A text that rasterio hands to GDAL as it is: options of a warped view it makes upper case."""

    __slots__ = ()

    def __str__(self) -> str:
        return self

    def upper(self) -> str:
        return self


def _gdal_name(dem: str) -> str:
    """Return the name by which GDAL finds a DEM, which has a CRS."""
    with _opened(dem) as dataset:
        if dataset.count != 1:
            msg = (
                f"{shown_name(dem)}: has {dataset.count} bands, so it is no DEM; give --rpc-dem a raster of one band, "
                "of heights in metres"
            )
            raise SourceError(msg)
        if dataset.crs is None:
            msg = f"{shown_name(dem)}: the DEM has no CRS; set one: gdal_edit.py -a_srs EPSG:CODE"
            raise SourceError(msg)
        return dataset.files[0] if is_url(dem) and dataset.files else dem


@contextmanager
def _opened(dem: str) -> Iterator[Any]:
    try:
        with rasterio.open(dem) as dataset:
            yield dataset
    except GDAL_ERRORS as error:
        msg = f"{shown_name(dem)}: the DEM cannot be read ({one_line(error)}); give --rpc-dem a raster of heights"
        raise SourceError(msg) from error
