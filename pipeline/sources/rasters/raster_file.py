"""Everything that GDAL reads: GeoTIFF, COG, VRT, JPEG 2000, PNG, local or remote."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray

from segment_tiles.pipeline.accepted import AlphaUse, NodataRule
from segment_tiles.pipeline.errors import ReadFailedError, SourceError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.damage import GDAL_ERRORS, damage_refused
from segment_tiles.pipeline.sources.patience import (
    LOCAL_ATTEMPTS,
    NOT_KEPT,
    REMOTE_ATTEMPTS,
    GaveUpError,
    Patience,
    http_settings,
)
from segment_tiles.pipeline.sources.rasters.block_cache import DEFAULT_MIB, block_cache_of_mib
from segment_tiles.pipeline.sources.rasters.facts import file_facts, file_notes
from segment_tiles.pipeline.sources.rasters.held_file import GdalName, held_settings
from segment_tiles.pipeline.sources.rasters.masks import MaskPlan, alpha_bands, mask_plan
from segment_tiles.pipeline.sources.rasters.placement import Placed, placed
from segment_tiles.pipeline.sources.rasters.rpcs import RpcHeights
from segment_tiles.pipeline.sources.rasters.sidecars import listing_setting, reads_remotely
from segment_tiles.pipeline.sources.rasters.signalled_errors import (
    open_error,
    signalled_errors_raised,
)
from segment_tiles.pipeline.sources.rasters.spec import (
    chosen_bands,
    has_one_type,
    holes_are_nodata,
    is_hole,
    raster_spec,
    rasterio_window,
)
from segment_tiles.pipeline.sources.validity import both, marked, valid_pixels

WHAT = "a raster"
LEVELS_AT_MOST = 64
"""More halvings than any raster has; GDAL cuts a larger number to 32 bits and opens another level."""

GDAL_SETTINGS: Mapping[str, Any] = {
    # with more than one thread a failed range request comes back as zeros, without an error (GDAL 3.10,
    # docs/decisions/0005): a hole in the map that nobody sees. Decoding has a thread of ours already.
    "GDAL_NUM_THREADS": 1,
    "VSI_CACHE": True,
}
"""Set around every open and read; plain data, so that it travels to workers."""
ONE_REQUEST: Mapping[str, Any] = {"GDAL_HTTP_MAX_RETRY": 0}
"""For what rasterio asks GDAL while no other thread of Python can run; our own patience tries again."""
RETRIED: tuple[type[Exception], ...] = (*GDAL_ERRORS, SourceError)
"""What reading, or opening again, raises if a later attempt may do better."""

Result = TypeVar("Result")


def gdal_settings(uri: str) -> Mapping[str, Any]:
    """Return all GDAL options for a raster of this name."""
    return {**GDAL_SETTINGS, **http_settings(), **listing_setting(uri)}


class RasterFile:
    """A raster that GDAL opens, at one Level, with the bands that were asked for.

    Raises
    ------
    SourceError
        If the file is missing, is no raster, has complex values, or lacks a band or the Level.
    """

    def __init__(
        self,
        uri: str,
        *,
        bands: Sequence[int] | None = None,
        nodata: float | None = None,
        nodata_rule: NodataRule = "all",
        alpha: AlphaUse = "auto",
        level: int = 0,
        settings: Mapping[str, Any] | None = None,
        cache_mib: int = DEFAULT_MIB,
        unchanged: Callable[[], None] | None = None,
        address: Callable[[bool], str] | None = None,  # gives the name that GDAL opens; True: a new one
        rpc: RpcHeights | None = None,  # at which its RPCs are applied
    ) -> None:
        self._uri, self._level, self._rule, self._alpha = uri, level, nodata_rule, alpha
        self._cache_mib, self._unchanged, self._address, self._rpc = cache_mib, unchanged, address, rpc
        self._settings = {**gdal_settings(uri), **held_settings(uri), **(settings or {})}
        attempts = REMOTE_ATTEMPTS if reads_remotely(uri) else LOCAL_ATTEMPTS
        self._patience = Patience(attempts, RETRIED)
        self._name, self._is_spoilt = GdalName(uri), False
        self._raster = self._name.open_first(self._open)
        try:
            with self._environment(), damage_refused(uri, WHAT):
                self._bands = chosen_bands(self._raster, bands, alpha, uri)
                self._plan = self._mask_plan(nodata)
                self.spec = raster_spec(self._raster, self._bands, self._plan, uri, is_overview=level > 0)
                self._reads_at_once = has_one_type(self._raster.file, self._bands)
                self._may_be_sparse = level == 0 and holes_are_nodata(self._raster, self._bands, self._plan)
        except BaseException:
            self.close()
            raise

    def _mask_plan(self, nodata: float | None) -> MaskPlan:
        plan = mask_plan(self._raster.file, self._bands, nodata, self._alpha, self._uri)
        if self._raster.is_warped:  # the view puts every mask of the file into its own alpha band
            return MaskPlan(plan.nodata, alpha_bands(self._raster.dataset)[-1])
        return plan

    @property
    def _dataset(self) -> Any:
        return self._raster.dataset

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window: bands x rows x columns, native type."""
        return self._retry(lambda: self._values(window), window)

    def read_into(self, window: Window, out: NDArray[Any]) -> None:
        """Put the values of a window into ``out``: bands x rows x columns, native type, strided or not."""
        self._retry(lambda: self._values(window, out=out), window)

    def valid(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which pixels hold data: nodata values, NaN, infinity, alpha band and masks together."""
        return self._valid(window, values, window.shape)

    def _values(
        self, window: Window, *, shape: tuple[int, int] | None = None, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Return the values of a window, decimated to a shape."""
        box = rasterio_window(window)
        if self._reads_at_once:
            how = {"out_shape": (len(self._bands), *shape)} if shape else {} if out is None else {"out": out}
            return np.asarray(self._dataset.read(self._bands, window=box, **how))
        if out is None:
            out = np.empty((len(self._bands), *(shape or window.shape)), dtype=self.spec.dtype)
        for band, into in zip(self._bands, out, strict=True):  # rasterio reads one type at a time
            into[:] = self._dataset.read(band, window=box, out_shape=shape or window.shape)
        return out

    def _valid(
        self, window: Window, values: NDArray[Any], shape: tuple[int, int]
    ) -> NDArray[np.bool_] | None:
        plan = self._plan
        valid = valid_pixels(values, plan.nodata, self._rule, self._hidden(window, values.shape))
        if plan.shared is not None:
            valid = both(self._mask(plan.shared, window, shape), valid)
        if plan.alpha is not None:
            box, alpha = rasterio_window(window), plan.alpha
            read = self._retry(lambda: self._dataset.read(alpha, window=box, out_shape=shape), window)
            valid = both(np.asarray(read) > 0, valid)
        return None if valid is None or valid.all() else valid

    def missing(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which values of single bands are missing, by nodata value or a mask of the band; None if none is."""
        found, hidden = marked(values, self._plan.nodata), self._hidden(window, values.shape)
        return found if hidden is None else hidden if found is None else found | hidden

    def _hidden(self, window: Window, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
        """Return which values, bands x rows x columns, masks of single bands hide; None if no band has one."""
        if not self._plan.own:
            return None
        hidden = np.zeros(shape, dtype=bool)
        for position, band in self._plan.own:
            hidden[position] = ~self._mask(band, window, (shape[1], shape[2]))
        return hidden

    def _mask(self, band: int, window: Window, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return GDAL's mask of a band."""
        box = rasterio_window(window)
        read = self._retry(lambda: self._dataset.read_masks(band, window=box, out_shape=shape), window)
        return np.asarray(read) > 0

    def is_surely_empty(self, window: Window) -> bool:
        """Return whether the file says, without decoding its values, that a window holds no data.

        True only if a mask of its own says so, and in holes of GeoTIFFs: where no chunk was ever written,
        GDAL reads the declared nodata value. False says nothing.
        """
        if window.is_empty:
            return False
        apart = self._plan.shared if self._plan.shared_is_apart else None
        if apart is not None and not self._mask(apart, window, window.shape).any():
            return True
        return self._may_be_sparse and self._retry(
            lambda: is_hole(self._dataset, self._bands, window), window, ONE_REQUEST
        )

    def thumbnail(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window decimated to ``shape`` by the nearest pixel, from an overview if there is one."""
        values = self._retry(lambda: self._values(window, shape=shape), window)
        return values, self._valid(window, values, shape)

    def thumbnail_of_bands(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
        """Return what ``thumbnail`` does, and which values of single bands are missing."""
        values, valid = self.thumbnail(window, shape)
        return values, valid, self.missing(window, values)

    @property
    def details(self) -> dict[str, Any]:
        """What ``info`` tells of this file beyond its spec."""
        with self._environment(), damage_refused(self._uri, WHAT):
            return file_facts(self._raster, self._uri, self._bands)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of this file before trusting a map of it."""
        with self._environment(), damage_refused(self._uri, WHAT):
            return tuple(file_notes(self._raster, self._uri, self._bands, self._plan, self._alpha))

    @property
    def level_count(self) -> int:
        """Levels that the file has: full resolution and its overviews."""
        return 1 + len(self.reductions)

    @property
    def reductions(self) -> tuple[float, ...]:
        """How many times fewer rows the overviews of all bands have, as the file lists them: Level 1 first."""
        if self._raster.is_warped:
            return ()  # those of the file lie elsewhere
        with self._environment(), damage_refused(self._uri, WHAT):
            of_bands = [self._dataset.overviews(band) for band in self._dataset.indexes]
        shared = takewhile(lambda level: len(set(level)) == 1, zip(*of_bands, strict=False))
        return tuple(float(level[0]) for level in shared)

    def close(self) -> None:
        """Release the GDAL handle."""
        self._raster.close()
        self._name.close()

    def _open(self, settings: Mapping[str, Any] | None = None) -> Placed:
        if self._level > LEVELS_AT_MOST:
            msg = f"{self._uri}: has no level {self._level}; see `segment-tiles info {self._uri}`"
            raise SourceError(msg)
        try:
            try:
                return self._opened(
                    settings, self._name.name if self._address is None else self._address(False)
                )
            except GDAL_ERRORS:
                if self._address is None:
                    raise
                return self._opened(settings, self._address(True))  # the signature may have run out
        except GDAL_ERRORS as error:
            raise open_error(self._uri, self._level, error) from error

    def _opened(self, settings: Mapping[str, Any] | None, name: str) -> Placed:
        options = {} if self._level == 0 else {"overview_level": self._level - 1}
        with self._environment(settings):
            file = rasterio.open(name, **options)
            return placed(file, self._uri, is_overview=self._level > 0, rpc=self._rpc)

    def _retry(
        self, read: Callable[[], Result], window: Window, settings: Mapping[str, Any] | None = None
    ) -> Result:
        def read_once() -> Result:
            anew = NOT_KEPT if self._is_spoilt else {}
            try:
                if self._is_spoilt:
                    self._reopen()
                with self._environment({**(settings or {}), **anew}), signalled_errors_raised():
                    return read()
            except RETRIED:
                # a dropped connection, an index that was not fetched, a cached failure: all stay with a handle
                self._is_spoilt = True
                raise

        try:
            return self._patience.read(read_once)
        except GaveUpError as error:
            found = f"{self._uri}: rows {window.row} to {window.row_stop} cannot be read, {error.summary}"
            msg = f"{found}; check the file or the connection, then start the same command again"
            raise ReadFailedError(msg) from error

    def _reopen(self) -> None:
        """Open again; the spoilt handle is closed first, or GDAL would go on with the members that it holds."""
        self._raster.close()
        if self._address is not None:
            self._address(True)
        self._raster = self._open(NOT_KEPT)
        if self._unchanged is not None:
            self._unchanged()  # what failed may be a range of another version
        self._is_spoilt = False

    @contextlib.contextmanager
    def _environment(self, settings: Mapping[str, Any] | None = None) -> Iterator[None]:
        with rasterio.Env(**{**self._settings, **(settings or {})}), block_cache_of_mib(self._cache_mib):
            yield
