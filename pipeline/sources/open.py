"""The one door to every kind of input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from segment_tiles.pipeline.accepted import AlphaUse, NodataRule
from segment_tiles.pipeline.errors import SourceError, UsageError
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.kinds import Kind, kind_of
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.pyramids.ome_tiff import open_ome_tiff
from segment_tiles.pipeline.sources.pyramids.ome_zarr import open_zarr
from segment_tiles.pipeline.sources.pyramids.pyramid import Pyramid
from segment_tiles.pipeline.sources.pyramids.pyramid_source import PyramidSource
from segment_tiles.pipeline.sources.pyramids.raster_pyramid import RasterPyramid
from segment_tiles.pipeline.sources.pyramids.slide import Slide
from segment_tiles.pipeline.sources.pyramids.tiff_pages import is_tiff, tiff_pages
from segment_tiles.pipeline.sources.pyramids.tiff_series import open_tiff_series
from segment_tiles.pipeline.sources.rasters.block_cache import DEFAULT_MIB
from segment_tiles.pipeline.sources.rasters.raster_file import RasterFile
from segment_tiles.pipeline.sources.rasters.rpcs import RpcHeights
from segment_tiles.pipeline.sources.resampling.resampled_source import ResampledSource
from segment_tiles.pipeline.sources.stacks.opening import open_stack
from segment_tiles.pipeline.sources.view import WHOLE, View
from segment_tiles.pipeline.sources.whole_files import refuse_cut_files


def open_source(
    uri: str,
    *,
    bands: Sequence[int] | None = None,
    nodata: float | None = None,
    nodata_rule: NodataRule = "all",
    alpha: AlphaUse = "auto",
    level: int = 0,
    view: View = WHOLE,
    settings: Mapping[str, Any] | None = None,
    cache_mib: int = DEFAULT_MIB,
    unchanged: Callable[[], None] | None = None,
    address: Callable[[bool], str] | None = None,
    rpc: RpcHeights | None = None,
) -> Source:
    """Open a raster, a slide, an OME image or a stack by path, URL or name.

    Parameters
    ----------
    uri
        Path, ``https://`` or ``s3://`` name, or a GDAL name such as ``/vsicurl/...``; the folder or URL of
        an OME-Zarr image; a slide.
    bands
        1-based indices in the order wanted; None for all but an alpha band.
    nodata
        Value of missing pixels, in place of the declared one.
    nodata_rule
        ``all`` or ``any`` of the bands must be missing.
    alpha
        What a band tagged alpha is: ``auto`` (a mask, unless ``bands`` names it), ``mask`` or ``band``.
    level
        Level, 0 for full resolution.
    view
        Micrometres or metres per pixel, plane and time point.
    settings
        GDAL configuration options, such as credentials.
    cache_mib
        MiB of decoded pixels that the source may keep, whichever library decodes them.
    unchanged
        Asked when a raster is opened again after a read that failed: raises if it is another.
    address
        Gives the signed URL under which a raster is opened; told True, one that is signed anew.
    rpc
        Heights at which the RPCs of a raster are applied; of a stack its name says them.

    Raises
    ------
    SourceError
        If it cannot be opened as any of these.
    UsageError
        If a band, the nodata value or the view cannot be one of this source.
    MissingExtraError
        If a library for this kind of source is not installed.
    """
    kind = kind_of(uri)
    if kind == "raster":
        opened = partial(
            RasterFile, uri, bands=bands, nodata=nodata, nodata_rule=nodata_rule, alpha=alpha, settings=settings,
            cache_mib=cache_mib, unchanged=unchanged, address=address, rpc=rpc,
        )  # fmt: skip
        return _open_raster(uri, opened, level, view)
    if kind == "stack":
        _check_view_of_stack(uri, view)
        each = partial(
            open_source, nodata_rule=nodata_rule, alpha=alpha, settings=settings, cache_mib=cache_mib,
            unchanged=unchanged,
        )  # fmt: skip
        stack = partial(open_stack, uri, each, bands=bands, nodata=nodata, nodata_rule=nodata_rule)
        return _resampled(uri, stack, level, view)
    if rpc is not None:
        msg = f"{shown_name(uri)}: has no RPCs that --rpc-height or --rpc-dem could apply; leave these out"
        raise SourceError(msg)
    pyramid = _open_pyramid(uri, kind, view, cache_mib * 2**20)
    try:
        return PyramidSource(
            uri, pyramid, bands=bands, nodata=nodata, nodata_rule=nodata_rule, level=level, view=view
        )
    except BaseException:
        pyramid.close()
        raise


def _open_raster(uri: str, opened: Callable[..., RasterFile], level: int, view: View) -> Source:
    """Open what GDAL reads, on its own pixels or on those of the view; ``opened`` takes a level."""
    if is_tiff(uri):
        tiff_pages(uri)  # refuses one whose end is missing, of which GDAL would show what there is
    else:
        refuse_cut_files(uri)
    _check_planes(uri, view)
    if view.mpp is None and view.source_mpp is None:
        return _resampled(uri, opened, level, view)
    return PyramidSource(uri, RasterPyramid(uri, opened), level=level, view=view)


def _resampled(uri: str, opened: Callable[..., Source], level: int, view: View) -> Source:
    """Open a level as it is, or resampled to metres per pixel."""
    return (
        opened(level=level)
        if view.metres is None
        else ResampledSource(shown_name(uri), opened, level, view.metres)
    )


def _open_pyramid(uri: str, kind: Kind, view: View, cache_bytes: int) -> Pyramid:
    if kind == "zarr":
        return open_zarr(uri, view, cache_bytes)
    if kind == "ome-tiff":
        return open_ome_tiff(uri, view, cache_bytes)
    if kind == "tiff-series":
        return open_tiff_series(uri, view, cache_bytes)
    _check_planes(uri, view)
    return Slide(uri, cache_bytes)


def _check_view_of_stack(uri: str, view: View) -> None:
    _check_planes(shown_name(uri), view)
    if view.mpp is not None or view.source_mpp is not None:
        option = "--mpp" if view.mpp is not None else "--source-mpp"
        msg = f"{option} is given, but {shown_name(uri)} is a stack, which has the pixels of --grid-of; leave it out"
        raise UsageError(msg)


def _check_planes(uri: str, view: View) -> None:
    for option, index in (("--z", view.z), ("--t", view.t)):
        if index not in {None, 0}:
            msg = f"{option} is {index}, but {uri} has one plane only: leave it out"
            raise UsageError(msg)
