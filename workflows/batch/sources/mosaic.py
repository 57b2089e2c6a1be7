"""Scenes as one raster, through GDAL's tile index driver (GTI): nothing is copied, seams have no border.

The index is a GeoPackage with a footprint and the address of every scene; GDAL, and so QGIS, opens it as a
raster. It also holds size and time of change of each scene, and is written anew only if something of it
changes: so the fingerprint of a run, which looks at the index, notices a scene that changed.

https://gdal.org/en/stable/drivers/raster/gti.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyogrio
import rasterio
from affine import Affine
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform_bounds
from shapely.geometry import box

from segment_tiles.pipeline.errors import SourceError, one_line
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.finished_file import finished_file, make_output_folder
from segment_tiles.pipeline.sources.rasters.raster_file import gdal_settings
from segment_tiles.pipeline.sources.versions.version import Version, source_versions
from segment_tiles.workflows.batch.jobs import Job, Mosaic
from segment_tiles.workflows.buckets.written import is_written, written_here

LAYER = "scenes"
"""Table of the index."""
ALIGNMENT = 0.01
"""Pixels by which the corner of a scene may miss the grid of the first."""
GDAL_PREFIXES: Mapping[str, str] = {
    "https://": "/vsicurl/https://",
    "http://": "/vsicurl/http://",
    "s3://": "/vsis3/",
    "gs://": "/vsigs/",
    "az://": "/vsiaz/",
}
"""What rasterio turns the beginning of a URL into; names in an index go to GDAL directly."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """The pixel grid of one scene."""

    uri: str = field(repr=False)  # may hold secrets
    crs: Any
    transform: Affine
    height: int
    width: int
    bands: int
    dtype: str
    nodata: tuple[float | None, ...]
    """Of each band."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Min x, min y, max x, max y."""
        left, top = self.transform * (0, 0)
        right, bottom = self.transform * (self.width, self.height)
        return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def readable_mosaic(job: Job, folder: Path) -> Job:
    """Return a job whose source can be opened: the index of a mosaic that is not there yet is written into a folder."""
    if job.mosaic is None:
        return job
    index = Path(job.config.source)
    if is_written(index):
        return job
    elsewhere = write_mosaic(job.mosaic, folder / index.name)
    return replace(job, config=replace(job.config, source=str(elsewhere)))


def write_mosaic(mosaic: Mosaic, index: Path) -> Path:
    """Write the index of a mosaic, which may have a URL, unless it is there already, and return its path.

    Raises
    ------
    SourceError
        If a scene cannot be opened, or does not fit the first one: says which and in what.
    WriteFailedError
        If the disk is full or read-only.
    PlaceError
        If a bucket does not answer, or lets us not write.
    """
    for uri in mosaic.scenes:
        _refuse_secrets(uri)
    versions = source_versions(mosaic.scenes)
    grids = [
        _grid(uri) if version is None else _known_grid(uri, json_text(version))
        for uri, version in zip(mosaic.scenes, versions, strict=True)
    ]
    for grid in grids[1:]:
        _check_fit(grids[0], grid, mosaic)
    frame, settings = _index(mosaic, grids, versions)
    with written_here(index, brought=lambda here: [here]) as here:
        if not _is_same(here, frame, settings):
            make_output_folder(here.parent)
            with finished_file(here) as path:
                pyogrio.write_dataframe(frame, path, layer=LAYER, driver="GPKG", layer_metadata=settings)
    return index


def _refuse_secrets(uri: str) -> None:
    """Refuse a URL with a password or a query: the index is a file, and GDAL opens what stands in it."""
    if shown_name(uri) != uri:
        msg = (
            f"{uri}: has a user, a password or a query, which the index of a mosaic would keep in a file; use an s3:// "
            "or gs:// name with credentials in the environment, or copy the scene"
        )
        raise SourceError(msg)


@lru_cache(maxsize=10_000)
def _known_grid(uri: str, _version: str) -> _Grid:
    """Return the grid of a scene; a batch asks at its check and again when the job begins."""
    return _grid(uri)


def _grid(uri: str) -> _Grid:
    try:
        with rasterio.Env(**gdal_settings(uri)), rasterio.open(uri) as scene:
            grid = _Grid(
                uri, scene.crs, scene.transform, scene.height, scene.width,
                scene.count, scene.dtypes[0], tuple(scene.nodatavals),
            )  # fmt: skip
    except (rasterio.errors.RasterioError, OSError) as error:
        msg = f"{uri}: cannot be opened as a scene of the mosaic ({one_line(error)})"
        raise SourceError(msg) from error
    if grid.crs is None or grid.transform.b or grid.transform.d or grid.transform.e >= 0:
        msg = f"{uri}: has no CRS or is not north-up; scenes of a mosaic need a georeference"
        raise SourceError(msg)
    return grid


def _check_fit(first: _Grid, grid: _Grid, mosaic: Mosaic) -> None:
    """Refuse a scene that one raster with the first cannot hold as it is."""
    for what, wanted, found in (
        ("bands", first.bands, grid.bands),
        ("a type of values", first.dtype, grid.dtype),
        *(
            (("a nodata value", _in_short(first.nodata), _in_short(grid.nodata)),)
            if mosaic.nodata is None
            else ()
        ),
    ):
        if wanted != found:
            remedy = "; name the value of missing pixels with nodata" if what == "a nodata value" else ""
            _refuse(first, grid, what, wanted, found, remedy)
    if mosaic.resampling is not None:
        return
    remedy = "; set mosaic: {resampling: bilinear} to warp it onto the grid of the first"
    if grid.crs != first.crs:
        _refuse(first, grid, "a CRS", first.crs.to_string(), grid.crs.to_string(), remedy)
    sides = [(round(t.a, 9), round(-t.e, 9)) for t in (first.transform, grid.transform)]
    if sides[0] != sides[1]:
        _refuse(first, grid, "a pixel size", sides[0], sides[1], remedy)
    column, row = ~first.transform * (grid.transform.c, grid.transform.f)
    if abs(column - round(column)) > ALIGNMENT or abs(row - round(row)) > ALIGNMENT:
        shift = f"{column % 1:.2f}, {row % 1:.2f} px off"
        _refuse(first, grid, "a pixel grid", "aligned", shift, remedy)


def _refuse(first: _Grid, grid: _Grid, what: str, wanted: object, found: object, remedy: str) -> None:
    msg = (
        f"{grid.uri}: cannot join the mosaic that {first.uri} begins: {what} of {found}, not {wanted}{remedy}"
    )
    raise SourceError(msg)


def _bounds_in(first: _Grid, grid: _Grid) -> tuple[float, float, float, float]:
    """Return west, south, east and north of a scene in the CRS of the first."""
    if grid.crs == first.crs:
        return grid.bounds
    try:
        found = transform_bounds(grid.crs, first.crs, *grid.bounds)
    except (RasterioError, CRSError) as error:
        found, reason = (math.nan,) * 4, one_line(error)
    else:
        reason = "they lie outside of where it is defined"
    if not all(map(math.isfinite, found)):
        bounds = ", ".join(f"{value:.6g}" for value in grid.bounds)
        msg = (
            f"{grid.uri}: its bounds ({bounds}, in {grid.crs.to_string()}) cannot be given in the CRS of {first.uri} "
            f"({reason}); check its CRS and transform, or leave it out of the mosaic"
        )
        raise SourceError(msg)
    west, south, east, north = found
    return west, south, east, north


def _index(
    mosaic: Mosaic, grids: Sequence[_Grid], versions: Sequence[Version]
) -> tuple[gpd.GeoDataFrame, dict[str, str]]:
    """Return the rows of the index and the settings that the driver reads from its layer."""
    first = grids[0]
    boxes = [_bounds_in(first, grid) for grid in grids]
    left, top = min(b[0] for b in boxes), max(b[3] for b in boxes)
    # anchored at a pixel corner of the first scene, so that none of its pixels is resampled
    column, row = (round(value) for value in ~first.transform * (left, top))
    last_column, last_row = ~first.transform * (max(b[2] for b in boxes), min(b[1] for b in boxes))
    x, y = first.transform * (column, row)
    nodata = _declared(first) if mosaic.nodata is None else repr(mosaic.nodata)
    settings = {
        "GEOTRANSFORM": f"{x!r},{first.transform.a!r},0,{y!r},0,{first.transform.e!r}",
        "XSIZE": str(round(last_column) - column),
        "YSIZE": str(round(last_row) - row),
        "SORT_FIELD": "number",
        "RESAMPLING": mosaic.resampling or "nearest",
        # where no scene lies there is no data; a nodata value says so, else a mask has to
        **({"MASK_BAND": "YES"} if nodata is None else {"NODATA": nodata}),
    }
    frame = gpd.GeoDataFrame(
        {
            "location": [_gdal_name(grid.uri, mosaic.nodata) for grid in grids],
            "number": range(len(grids)),
            "version": list(map(str, versions)),
        },
        geometry=[box(*bounds) for bounds in boxes],
        crs=first.crs,
    )
    return frame, settings


def _in_short(values: tuple[float | None, ...]) -> object:
    """Return one value if all bands have the same."""
    return values[0] if len(set(values)) == 1 else values


def _declared(grid: _Grid) -> str | None:
    """Return the nodata values of the bands as the driver reads them, or None if there are none."""
    values = [value for value in grid.nodata if value is not None]
    if values and len(values) < grid.bands:
        msg = (
            f"{grid.uri}: only {len(values)} of its {grid.bands} bands declare a nodata value, which a mosaic "
            "cannot hold; name the value of missing pixels with nodata"
        )
        raise SourceError(msg)
    return ",".join(map(repr, values)) or None


def _gdal_name(uri: str, nodata: float | None) -> str:
    """Return what GDAL calls a scene; a nodata value that it does not declare is put over it."""
    name = uri
    for scheme, prefix in GDAL_PREFIXES.items():
        if uri.startswith(scheme):
            name = prefix + uri.removeprefix(scheme)
    return name if nodata is None else f"vrt://{name}?a_nodata={nodata!r}"


def _is_same(index: Path, frame: gpd.GeoDataFrame, settings: Mapping[str, str]) -> bool:
    if not index.exists():
        return False
    try:
        there = pyogrio.read_dataframe(index, layer=LAYER)
        metadata = pyogrio.read_info(index, layer=LAYER)["layer_metadata"] or {}
    except pyogrio.errors.DataSourceError:
        return False  # not an index: it is replaced
    columns = ["location", "number"]
    if not all(column in there for column in (*columns, "version")) or len(there) != len(frame):
        return False
    # a server that told nothing, this time or before, has not told of a change
    versions = zip(there["version"], frame["version"], strict=True)
    return (
        all(metadata.get(name) == value for name, value in settings.items())
        and there[columns].to_numpy().tolist() == frame[columns].to_numpy().tolist()
        and all(before == now or _UNKNOWN in {before, now} for before, now in versions)
    )


_UNKNOWN = str(None)
"""Version of a scene, as the index has it, of which its server said nothing."""
