"""A class map and its confidence on another grid, through GDAL's warped view, part by part.

::

    store --shard by shard--> sparse GeoTIFF --warped view--> shards of a store on the other grid

What GDAL makes of a pixel does not depend on the part it is asked in: positions are computed exactly, not interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
import zarr
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError, ProjError
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window as RasterioWindow

from segment_tiles.pipeline.durable import remove
from segment_tiles.pipeline.errors import UsageError, one_line
from segment_tiles.pipeline.grid.georef import GeoRef, transformed
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.gdal_environment import gdal_environment
from segment_tiles.pipeline.outputs.stores.class_masks import masks_of
from segment_tiles.pipeline.outputs.stores.overviews import build_overviews, shard_windows
from segment_tiles.pipeline.outputs.stores.store import (
    array_of,
    create_store,
    open_store,
    read_class_table,
    read_georef,
)
from segment_tiles.pipeline.sources.damage import GDAL_ERRORS
from segment_tiles.pipeline.sources.stacks.description import LikeGrid

WARP_MEMORY: Final = 64
"""MiB that GDAL takes for a part."""
HIDDEN: Final = 255
"""Of masks: pixels without data."""
EXACT: Final = 1e-9
"""Pixels that positions may be off; of 0 rasterio makes no view."""
FAILURES: Final[tuple[type[Exception], ...]] = (*GDAL_ERRORS, CRSError, ProjError, ValueError)


@dataclass(frozen=True, slots=True)
class WarpedGrid:
    """A grid onto which a map is brought, and how."""

    georef: GeoRef
    shape: tuple[int, int]
    """Rows and columns."""
    covered: Window
    """Pixels that the map can reach."""
    by_mode: bool
    """The class of a pixel is the most frequent one in it; else the nearest."""
    finer: float = 1.0
    """Pixels of this grid along a side of one of the map, where it covers the map."""


def warped_grid(
    georef: GeoRef, shape: tuple[int, int], *, crs: str | None, like: str | None, by_mode: bool
) -> WarpedGrid:
    """Return the grid of a raster, or one that GDAL suggests in a CRS.

    Parameters
    ----------
    georef, shape
        Of the map.
    crs, like
        One of them: what PROJ understands, or the name of a raster.
    by_mode
        As in `WarpedGrid`.

    Raises
    ------
    UsageError
        If the map or the raster has no CRS, the CRS is not known, or the map lies outside.
    """
    option = f"--crs {crs}" if like is None else f"--like {shown_name(like)}"
    if georef.crs_wkt is None:
        msg = f"{option}: the class map has no CRS, so it cannot be brought onto another grid; leave it out"
        raise UsageError(msg)
    try:
        found, side = _suggested(georef, shape, str(crs)) if like is None else grid_of_file(like)
        if found.crs_wkt is None:
            msg = f"{option}: has no CRS; give a raster that has one"
            raise UsageError(msg)
        bounds = transform_bounds(
            georef.crs_wkt, found.crs_wkt, *georef.bounds(Window(0, 0, *shape)), densify_pts=99
        )
    except FAILURES as error:
        msg = f"{option}: the class map cannot be brought there ({one_line(error)}); give another one"
        raise UsageError(msg) from error
    covered = _touched(found, bounds, side)
    if covered.is_empty:
        msg = f"{option}: covers nothing of the class map; give a grid on which it lies"
        raise UsageError(msg)
    return WarpedGrid(found, side, covered, by_mode, _finer(georef, found, covered))


def _finer(own: GeoRef, there: GeoRef, covered: Window) -> float:
    """Return how many pixels of a grid lie along a side of one of the map: the root of those that one has."""
    step = max(1.0, min(covered.shape) / 8)
    rows, columns = (
        part.ravel()
        for part in np.meshgrid(
            covered.row + covered.height * np.array([0.25, 0.5, 0.75]),
            covered.column + covered.width * np.array([0.25, 0.5, 0.75]),
        )
    )
    # each position, one beside it and one below it
    points = np.column_stack(
        [np.concatenate([columns, columns + step, columns]), np.concatenate([rows, rows, rows + step])]
    )
    moved = transform(there.crs_wkt, own.crs_wkt, *transformed(there.affine, points).T)
    first, beside, below = transformed(~own.affine, np.column_stack(moved)).reshape(3, -1, 2)
    across, down = beside - first, below - first
    pixels = np.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]) / step**2
    pixels = pixels[np.isfinite(pixels) & (pixels > 0)]
    # without one, nothing of the map comes to lie there
    return float(f"{np.median(pixels) ** -0.5:.6g}") if len(pixels) else 1.0


def _touched(georef: GeoRef, bounds: tuple[float, float, float, float], shape: tuple[int, int]) -> Window:
    """Return the pixels that bounds may touch, one more on every side; all if the bounds are not finite."""
    whole = Window(0, 0, *shape)
    if not all(map(math.isfinite, bounds)):
        return whole
    row, column, row_stop, column_stop = georef.pixel_box(bounds)
    box = Window.from_edges(math.floor(row), math.floor(column), math.ceil(row_stop), math.ceil(column_stop))
    return Window(0, 0, 0, 0) if box.intersect(whole).is_empty else box.grow(1).intersect(whole)


def grid_of_file(path: str | Path) -> tuple[GeoRef, tuple[int, int]]:
    """Return where the pixels of a raster lie, and its rows and columns.

    Raises
    ------
    RasterioError
        If it cannot be opened.
    """
    with rasterio.open(path) as dataset:
        wkt = dataset.crs.to_wkt(version="WKT2_2019") if dataset.crs else None
        return GeoRef.from_affine(dataset.transform, wkt), (dataset.height, dataset.width)


def like_grid(path: str) -> LikeGrid:
    """Return the grid of a raster, onto which a source is brought.

    Raises
    ------
    UsageError
        If it cannot be opened, or has no CRS.
    """
    option = f"--like {shown_name(path)}"
    try:
        georef, shape = grid_of_file(path)
    except FAILURES as error:
        msg = f"{option}: cannot be opened ({one_line(error)}); give a raster whose grid is wanted"
        raise UsageError(msg) from error
    if georef.crs_wkt is None:
        msg = f"{option}: has no CRS; give a raster that has one"
        raise UsageError(msg)
    return LikeGrid(georef.crs_wkt, georef.transform, shape, shown_name(path))


def _suggested(georef: GeoRef, shape: tuple[int, int], crs: str) -> tuple[GeoRef, tuple[int, int]]:
    """Return a grid of pixels as large as those of the map, as gdalwarp suggests it."""
    wkt = CRS.from_user_input(crs).to_wkt()
    with rasterio.MemoryFile() as memory:
        profile = {"height": shape[0], "width": shape[1], "count": 1, "dtype": "uint8", "sparse_ok": True}
        tiled = {"tiled": True, "bigtiff": "YES", "compress": "DEFLATE"}
        with memory.open(
            driver="GTiff", crs=georef.crs_wkt, transform=georef.affine, **profile, **tiled
        ) as empty:
            pass
        with memory.open() as empty, WarpedVRT(empty, crs=wkt) as view:
            return GeoRef.from_affine(view.transform, wkt), (view.height, view.width)


@contextmanager
def warped_store(path: Path, group: zarr.Group, grid: WarpedGrid) -> Iterator[tuple[zarr.Group, list[int]]]:
    """Give a store of a map on another grid, and how many pixels each class has; it is removed at the end.

    A pixel outside the map is nodata. By mode, confidence is the mean of what is not nodata.

    Raises
    ------
    OSError
        If the disk is full or read-only.
    """
    table, masks = read_class_table(group), masks_of(group)
    codes, values = path.with_name(f"codes-{path.name}.tif"), path.with_name(f"confidence-{path.name}.tif")
    try:
        create_store(path, grid.shape, grid.georef, table, masks=() if masks is None else masks.codes)
        made = open_store(path, "r+")
        counts = np.zeros(table.nodata + 1, np.int64)
        with gdal_environment():
            _write(codes, group, "classes", table.nodata)
            _write(values, group, "confidence", 0)
            ways = (Resampling.mode, Resampling.average) if grid.by_mode else (Resampling.nearest,) * 2
            with (
                _view(codes, grid, ways[0], table.nodata) as classes,
                _view(values, grid, ways[1], 0) as confidence,
            ):
                for window in shard_windows(*grid.shape):
                    if window.intersect(grid.covered).is_empty:
                        continue
                    found, sure = _part(classes, window), _part(confidence, window)
                    array_of(made, "classes")[window.slices()] = found
                    array_of(made, "confidence")[window.slices()] = np.where(found == table.nodata, 0, sure)
                    counts += np.bincount(found.ravel(), minlength=len(counts))
            if masks is not None:
                _warp_masks(group, made, grid, codes)
        build_overviews(made)
        yield open_store(path), [int(counts[code]) for code in table.codes]
    finally:
        for leftover in (codes, values, path):
            remove(leftover)


def _warp_masks(group: zarr.Group, made: zarr.Group, grid: WarpedGrid, file: Path) -> None:
    """Bring masks of classes that may overlap onto the grid, as classes are: each is one of a pixel or is not."""
    planes, out, before = array_of(group, "masks"), array_of(made, "masks"), array_of(group, "classes")
    nodata, way = read_class_table(group).nodata, Resampling.mode if grid.by_mode else Resampling.nearest
    for plane in range(planes.shape[0]):

        def mask(window: Window, plane: int = plane) -> NDArray[Any]:
            index = window.slices()
            return np.where(np.asarray(before[index]) == nodata, HIDDEN, np.asarray(planes[(plane, *index)]))

        _write_parts(file, group, "uint8", HIDDEN, mask)
        with _view(file, grid, way, HIDDEN) as view:
            for window in shard_windows(*grid.shape):
                if not window.intersect(grid.covered).is_empty:
                    out[(plane, *window.slices())] = _part(view, window) == 1


def _write(path: Path, group: zarr.Group, name: str, nodata: int) -> None:
    """Write an array of a store as a GeoTIFF, shard by shard."""
    array = array_of(group, name)
    _write_parts(path, group, str(array.dtype), nodata, lambda window: np.asarray(array[window.slices()]))


def _write_parts(
    path: Path, group: zarr.Group, dtype: str, nodata: int, read: Callable[[Window], NDArray[Any]]
) -> None:
    georef, (rows, columns) = read_georef(group), array_of(group, "classes").shape
    with rasterio.open(
        path, "w", driver="GTiff", height=rows, width=columns, count=1, dtype=dtype, nodata=nodata,
        crs=georef.crs_wkt, transform=georef.affine, tiled=True, blockxsize=512, blockysize=512, compress="DEFLATE",
        zlevel=1, sparse_ok=True, bigtiff="IF_SAFER",
    ) as dataset:  # fmt: skip
        for window in shard_windows(rows, columns):
            dataset.write(read(window), 1, window=_rasterio_window(window))


@contextmanager
def _view(path: Path, grid: WarpedGrid, how: Resampling, nodata: int) -> Iterator[Any]:
    rows, columns = grid.shape
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(
            dataset, crs=grid.georef.crs_wkt, transform=Affine(*grid.georef.transform), height=rows, width=columns,
            resampling=how, nodata=nodata, src_nodata=nodata, tolerance=EXACT, warp_mem_limit=WARP_MEMORY,
        ) as view,
    ):  # fmt: skip
        yield view


def _part(view: Any, window: Window) -> NDArray[Any]:
    return np.asarray(view.read(1, window=_rasterio_window(window)))


def _rasterio_window(window: Window) -> RasterioWindow:
    return RasterioWindow(window.column, window.row, window.width, window.height)
