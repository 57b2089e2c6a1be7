"""Everything that GDAL reads: GeoTIFF, COG, VRT, JPEG 2000, PNG, local or remote."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Interleaving, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterioWindow

from segment_tiles.pipeline.errors import ReadFailedError, SourceError, UsageError, one_line
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.names import is_url
from segment_tiles.pipeline.sources.block_cache import DEFAULT_MIB, block_cache_of_mib
from segment_tiles.pipeline.sources.protocol import NodataRule
from segment_tiles.pipeline.sources.rasters.sidecars import listing_setting
from segment_tiles.pipeline.sources.validity import both, nodata_as, valid_pixels

READ_ATTEMPTS = 3
"""How often a window is tried before the read counts as failed."""
RETRY_SECONDS = 0.5
"""Wait before the second attempt; doubled before each further one."""

GDAL_SETTINGS: Mapping[str, Any] = {
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_HTTP_RETRY_DELAY": 1,
    # with more than one thread a failed range request comes back as zeros, without an error (GDAL 3.10,
    # docs/decisions/0005): a hole in the map that nobody sees. Decoding has a thread of ours already.
    "GDAL_NUM_THREADS": 1,
    "VSI_CACHE": True,
}
"""Set around every open and read, with `listing_setting`; plain data, so that it travels to workers."""


class RasterFile:
    """A raster that GDAL opens, at one Level, with the bands that were asked for.

    Raises
    ------
    SourceError
        Where the file is missing, is no raster, has complex values, or lacks a band or the Level.
    """

    def __init__(
        self,
        uri: str,
        *,
        bands: Sequence[int] | None = None,
        nodata: float | None = None,
        nodata_rule: NodataRule = "all",
        level: int = 0,
        settings: Mapping[str, Any] | None = None,
        cache_mib: int = DEFAULT_MIB,
    ) -> None:
        self._uri, self._level, self._rule = uri, level, nodata_rule
        self._cache_mib = cache_mib
        self._settings = {**GDAL_SETTINGS, **listing_setting(uri), **(settings or {})}
        self._dataset = self._open()
        try:
            self._bands = _chosen_bands(self._dataset, bands, uri)
            self._has_mask, self._has_mask_apart = _has_mask(self._dataset), _has_mask_apart(self._dataset)
            self.spec = _spec(self._dataset, self._bands, nodata, uri)
            self._may_be_sparse = level == 0 and _holes_are_nodata(self._dataset, self._bands, self.spec)
        except BaseException:
            self._dataset.close()
            raise

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window: bands x rows x columns, native type."""
        values = self._retry(lambda: self._dataset.read(self._bands, window=_rasterio_window(window)), window)
        return np.asarray(values)

    def read_into(self, window: Window, out: NDArray[Any]) -> None:
        """Put the values of a window into ``out``: bands x rows x columns, native type, strided or not."""
        self._retry(lambda: self._dataset.read(self._bands, window=_rasterio_window(window), out=out), window)

    def valid(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which pixels hold data: nodata value, NaN, alpha band and mask band together."""
        by_value = valid_pixels(values, self.spec.nodata, self._rule)
        if not self._has_mask:
            return by_value
        mask = self._mask(window)
        return both(None if mask.all() else mask, by_value)

    def _mask(self, window: Window) -> NDArray[np.bool_]:
        """Return the mask or alpha band of a window."""
        box = _rasterio_window(window)
        return np.asarray(self._retry(lambda: self._dataset.dataset_mask(window=box), window) > 0)

    def is_surely_empty(self, window: Window) -> bool:
        """Return whether the file says, without decoding its values, that a window holds no data.

        True only where a mask of its own says so, and in holes of GeoTIFFs: where no chunk was ever written,
        GDAL reads the declared nodata value. False says nothing.
        """
        if window.is_empty:
            return False
        if self._has_mask_apart and not self._mask(window).any():
            return True
        if not self._may_be_sparse:
            return False
        for band in self._bands:
            rows, columns = self._dataset.block_shapes[band - 1]
            for down in range(window.row // rows, (window.row_stop - 1) // rows + 1):
                for across in range(window.column // columns, (window.column_stop - 1) // columns + 1):
                    if self._dataset.get_tag_item(f"BLOCK_OFFSET_{across}_{down}", "TIFF", bidx=band):
                        return False
        return True

    def thumbnail(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window decimated to ``shape`` by the nearest pixel, from an overview where there is one."""
        box, count = _rasterio_window(window), len(self._bands)
        values = self._retry(
            lambda: self._dataset.read(self._bands, window=box, out_shape=(count, *shape)), window
        )
        by_value = valid_pixels(values, self.spec.nodata, self._rule)
        if not self._has_mask:
            return values, by_value
        mask = self._retry(lambda: self._dataset.dataset_mask(window=box, out_shape=shape), window) > 0
        return values, both(None if mask.all() else mask, by_value)

    @property
    def level_count(self) -> int:
        """Levels that the file has: full resolution and its overviews."""
        return 1 + len(self._dataset.overviews(1))

    def close(self) -> None:
        """Release the GDAL handle."""
        self._dataset.close()

    def _open(self) -> Any:
        options = {} if self._level == 0 else {"overview_level": self._level - 1}
        try:
            with self._environment():
                return rasterio.open(self._uri, **options)
        except (RasterioError, OSError) as error:
            raise _open_error(self._uri, self._level, error) from error

    def _retry(self, read: Any, window: Window) -> NDArray[Any]:
        for attempt in range(READ_ATTEMPTS):
            try:
                with self._environment():
                    return np.asarray(read())
            except (RasterioError, OSError) as error:
                last = error
            if attempt + 1 < READ_ATTEMPTS:
                time.sleep(RETRY_SECONDS * 2**attempt)
                self._reopen()
        msg = (
            f"{self._uri}: rows {window.row} to {window.row_stop} cannot be read, tried {READ_ATTEMPTS} times: "
            f"{one_line(last)}; check the file or the connection, then start the same command again"
        )
        raise ReadFailedError(msg) from last

    def _reopen(self) -> None:
        """Open again: a dropped connection or a cached failure stays with a handle."""
        with contextlib.suppress(SourceError):
            fresh = self._open()
            self._dataset.close()
            self._dataset = fresh

    @contextlib.contextmanager
    def _environment(self) -> Iterator[None]:
        with warnings.catch_warnings():
            # a picture without georeference is a legal input here, in pixel coordinates
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.Env(**self._settings), block_cache_of_mib(self._cache_mib):
                yield


def _rasterio_window(window: Window) -> RasterioWindow:
    return RasterioWindow(window.column, window.row, window.width, window.height)


def _open_error(uri: str, level: int, error: Exception) -> SourceError:
    if not is_url(uri):
        path = Path(uri)
        if not path.exists():
            return SourceError(f"{uri}: no such file; give the path or URL of a raster")
        if path.is_dir():
            return SourceError(f"{uri}: is a folder without a raster that can be read; give a file")
    if level > 0:
        return SourceError(f"{uri}: has no level {level} ({one_line(error)}); see `segment-tiles info {uri}`")
    return SourceError(f"{uri}: is not a raster that GDAL can read ({one_line(error)})")


def _chosen_bands(dataset: Any, bands: Sequence[int] | None, uri: str) -> list[int]:
    if dataset.count == 0:
        names = ", ".join(dataset.subdatasets[:5]) or "none"
        msg = f"{uri}: has no bands of its own; give one of its subdatasets ({names})"
        raise SourceError(msg)
    if bands is None:
        return [i for i, kind in enumerate(dataset.colorinterp, 1) if kind != ColorInterp.alpha]
    for band in bands:
        if not 1 <= band <= dataset.count:
            msg = f"--bands names band {band}, but {uri} has bands 1 to {dataset.count}"
            raise UsageError(msg)
    return list(bands)


def _has_mask(dataset: Any) -> bool:
    """Whether validity is stored apart from the values: in an alpha band or a mask band."""
    flags = {flag for band in dataset.mask_flag_enums for flag in band}
    return MaskFlags.alpha in flags or MaskFlags.per_dataset in flags


def _has_mask_apart(dataset: Any) -> bool:
    """Whether there is a mask that can be read without the values; alpha lies among them."""
    flags = {flag for band in dataset.mask_flag_enums for flag in band}
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags


def _spec(dataset: Any, bands: list[int], nodata: float | None, uri: str) -> RasterSpec:
    dtypes = [np.dtype(dataset.dtypes[band - 1]) for band in bands]
    dtype = np.result_type(*dtypes)
    if dtype.kind not in "uif":
        msg = f"{uri}: holds {dtype.name} values; only integers and floats can be segmented"
        raise SourceError(msg)
    if nodata is None:
        declared = {dataset.nodatavals[band - 1] for band in bands} - {None}
        # bands that declare different values cannot be told by one; their mask band would be read
        found = declared.pop() if len(declared) == 1 else None
        nodata = None if found is None or not _representable(found, dtype) else float(found)
    else:
        nodata = nodata_as(dtype.name, nodata)
    names = tuple(dataset.descriptions[band - 1] or "" for band in bands)
    crs = dataset.crs.to_wkt(version="WKT2_2019") if dataset.crs else None
    return RasterSpec(
        bands=len(bands),
        height=dataset.height,
        width=dataset.width,
        dtype=dtype.name,
        georef=GeoRef.from_affine(dataset.transform, crs),
        nodata=nodata,
        band_names=names if any(names) else (),
        chunk=tuple(dataset.block_shapes[0]),
        decoded_bytes=_cached_bytes(dataset, bands),
    )


def _cached_bytes(dataset: Any, bands: list[int]) -> int:
    """Return the bytes that GDAL's cache holds for one pixel: with a band come those that lie between its values."""
    sizes = [np.dtype(name).itemsize for name in dataset.dtypes]
    if dataset.interleaving == Interleaving.pixel:
        chosen = set(range(1, dataset.count + 1))
    else:
        alpha = [i for i, kind in enumerate(dataset.colorinterp, 1) if kind == ColorInterp.alpha]
        chosen = {*bands, *alpha}
    masked = 1 if _has_mask_apart(dataset) else 0
    return masked + sum(int(sizes[band - 1]) for band in chosen)


def _holes_are_nodata(dataset: Any, bands: list[int], spec: RasterSpec) -> bool:
    """Return whether a chunk that the file does not have reads as missing pixels in all bands."""
    declared = [dataset.nodatavals[band - 1] for band in bands]
    return dataset.driver == "GTiff" and spec.nodata is not None and all(v == spec.nodata for v in declared)


def _representable(value: float, dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or (value == value and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)
