"""Vector files that users name: ``FILE``, or ``FILE:LAYER`` if it has several layers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyproj.exceptions import ProjError

from segment_tiles.pipeline.errors import UsageError, one_line
from segment_tiles.pipeline.library_messages import recorded_warnings

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

logger = logging.getLogger(__name__)

MAY_HOLD_POLYGONS: Final = ("Polygon", "Surface", "Collection", "Unknown")
"""Parts of the names of geometry types of layers in which a polygon can be."""
PARQUET: Final = (".parquet", ".geoparquet")
"""What pyarrow reads: the GDAL of most installations has no driver for it."""
BESIDE_SHAPEFILE: Final = (".shx", ".dbf", ".prj", ".cpg")
"""Files that belong to a ``.shp``."""


def split_layer(name: str | Path) -> tuple[Path, str | None]:
    r"""Return file and layer of ``FILE:LAYER``; a file whose name has a colon is a file.

    >>> split_layer("no-such.gpkg:fields")
    (PosixPath('no-such.gpkg:fields'), None)
    """
    text = str(name)
    if Path(text).exists():
        return Path(text), None
    for position in (index for index, sign in enumerate(text) if sign == ":"):
        if position != 1 and Path(text[:position]).exists():  # after one letter it is a drive of Windows
            return Path(text[:position]), text[position + 1 :]
    return Path(text), None


def read_polygon_layer(name: str | Path, what: str, columns: Sequence[str] | None = None) -> GeoDataFrame:
    """Read the layer of a vector file that has polygons, whatever else the file holds.

    Parameters
    ----------
    name
        ``FILE`` or ``FILE:LAYER``.
    what
        Begins the message of an error: option and name, say.
    columns
        Those that are read beside the geometry; None: all.

    Raises
    ------
    UsageError
        If it cannot be read, has no such layer, or has several and none is named: lists them.
    """
    import geopandas  # noqa: PLC0415 - brings pandas, a second of start-up
    import pyogrio  # noqa: PLC0415
    import shapely  # noqa: PLC0415

    path, layer = split_layer(name)
    try:
        with recorded_warnings() as said:
            if path.name.lower().endswith(PARQUET):
                frame = _read_parquet(path, layer, what)
            else:
                layer = _chosen(pyogrio.list_layers(path), layer, path, what)
                frame = pyogrio.read_dataframe(path, layer=layer, columns=columns)
    except shapely.errors.GEOSException as error:
        msg = (
            f"{what}: has a geometry that cannot be read ({_of_geos(error)}); repair the file, in QGIS with "
            '"Fix geometries"'
        )
        raise UsageError(msg) from error
    except (*_UNREADABLE, pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        msg = f"{what}: cannot be read as a vector file ({one_line(error)})"
        raise UsageError(msg) from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        msg = f"{what}: has no geometries; give a file with polygons"
        raise UsageError(msg)
    for text in dict.fromkeys(str(warning.message) for warning in said):
        logger.warning("%s: %s", what, " ".join(text.split())[:300])
    require_finite(frame.geometry, f"{what}: has")
    return frame


_UNREADABLE: Final = (OSError, ValueError, KeyError, TypeError, NotImplementedError, ProjError)
"""What pyarrow, geopandas and pyproj raise about files that are damaged or say what cannot be."""


def _of_geos(error: Exception) -> str:
    """Return the words of GEOS without its names.

    >>> _of_geos(ValueError("IllegalArgumentException: Points of LinearRing do not form a closed linestring"))
    'Points of LinearRing do not form a closed linestring'
    """
    return one_line(error).rpartition("Exception: ")[2]


def require_finite(geometries: Any, complaint: str) -> None:
    """Refuse coordinates that are no numbers, with which nothing can be computed.

    Parameters
    ----------
    geometries
        Array of geometries.
    complaint
        Begins the message: what has them.

    Raises
    ------
    UsageError
        Names the first such geometry.
    """
    import numpy as np  # noqa: PLC0415
    import shapely  # noqa: PLC0415

    points, index = shapely.get_coordinates(np.asarray(geometries, dtype=object), return_index=True)
    wrong = ~np.isfinite(points).all(axis=1)
    if wrong.any():
        x, y = points[wrong][0]
        number = index[wrong][0] + 1
        msg = f"{complaint} a geometry, number {number}, with the coordinates {x}, {y}; finite numbers are needed"
        raise UsageError(msg)


def is_of_qupath(name: str | Path) -> bool:
    """Return whether a file is one of QuPath, which always draws in full-resolution pixels, y down."""
    import pyogrio  # noqa: PLC0415

    path, layer = split_layer(name)
    if path.suffix.lower() not in {".geojson", ".json"}:
        return False
    with recorded_warnings():
        fields = pyogrio.read_info(path, layer=layer)["fields"]
    return bool({"objectType", "object_type"} & set(fields))


def content_checksum(name: str | Path) -> str:
    """Return the sha256 of what a vector file says: its bytes, those of files that belong to it, and the layer."""
    _, layer = split_layer(name)
    files = list(files_of_vector_file(name).values())
    if len(files) == 1 and layer is None:
        return sha256(files[0].read_bytes()).hexdigest()
    total = sha256(repr((layer, [file.name for file in files])).encode())
    for file in files:
        total.update(sha256(file.read_bytes()).digest())
    return total.hexdigest()


def files_of_vector_file(name: str | Path) -> dict[str, Path]:
    """Return a vector file and those that belong to it, by their path in its folder."""
    path, _ = split_layer(name)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    files += [beside for beside in _beside(path) if beside.is_file()]
    return {file.relative_to(path.parent).as_posix(): file for file in files}


def _beside(path: Path) -> Iterator[Path]:
    if path.suffix.lower() == ".shp":
        yield from (path.with_suffix(ending) for ending in BESIDE_SHAPEFILE)


def _read_parquet(path: Path, layer: str | None, what: str) -> GeoDataFrame:
    import geopandas  # noqa: PLC0415

    if layer is not None:
        msg = f"{what}: GeoParquet has no layers; leave :{layer} out"
        raise UsageError(msg)
    return geopandas.read_parquet(path)


def _chosen(layers: Any, asked: str | None, path: Path, what: str) -> str:
    """Return the layer that is read: the one asked for, else the only one that may hold polygons."""
    kinds = {str(name): "" if kind is None else str(kind) for name, kind in layers}
    if asked is not None:
        if asked not in kinds:
            msg = f"{what}: {path} has no layer {asked!r}; it has {', '.join(kinds)}"
            raise UsageError(msg)
        return asked
    found = [name for name, kind in kinds.items() if any(part in kind for part in MAY_HOLD_POLYGONS)]
    if len(found) == 1:
        return found[0]
    if not found:
        has = ", ".join(f"{name} ({kind or 'no geometries'})" for name, kind in kinds.items()) or "none"
        msg = f"{what}: holds no polygon; its layers are {has}; give a file with at least one"
        raise UsageError(msg)
    msg = f"{what}: {path} has several layers; name one as {path}:{found[0]}, of {', '.join(found)}"
    raise UsageError(msg)
