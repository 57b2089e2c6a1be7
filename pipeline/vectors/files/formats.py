"""Vector formats by name and by extension."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import cast

from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import MapClass
from segment_tiles.pipeline.vectors.files.layer import Layer

Writer = Callable[[Path, Layer], tuple[str, ...]]
LONGEST_NAME = 60
"""Characters of a class in the name of a file, which has 255 bytes."""
TABLES = ("gpkg_", "rtree_", "sqlite_", "layer_styles")
"""Beginnings of names that the format, SQLite and QGIS have for tables of their own in a GeoPackage."""
_FOLDER = "segment_tiles.pipeline.vectors.files"


@dataclass(frozen=True, slots=True)
class VectorFormat:
    """One kind of vector file."""

    name: str
    """Name on the command line."""
    extensions: tuple[str, ...]
    """Endings of file names that mean this format."""
    writer: str
    """Module and function that write it; loaded when it is used, since GDAL and pandas are heavy."""
    media_type: str
    """For catalogues (STAC)."""
    fixed_crs: str | None = None
    """The only CRS that the format holds, or None if it holds any."""
    has_class_column: bool = True
    """The file has the column of class codes, which a style of QGIS needs."""
    driver: str | None = None
    """GDAL driver that writes it, or None if another library does."""
    needs_crs: bool = False
    """Whether it cannot hold coordinates without a CRS."""
    needs_objects: bool = False
    """Whether it has objects alone."""
    siblings: tuple[str, ...] = ()
    """Endings of files that belong to it, beside it."""
    own_folder: str | None = None
    """Module and function that know a folder that this format has written; None: it writes files alone."""

    def files_of(self, path: Path) -> tuple[Path, ...]:
        """Return all files of a layer; last the one that its name is of."""
        return (*(path.with_suffix(ending) for ending in self.siblings), path)

    def is_own_folder(self, path: Path) -> bool:
        """Return whether a folder is one of this format, so that another may take its name."""
        if self.own_folder is None or not path.is_dir():
            return False
        return cast(bool, resolve_name(self.own_folder)(path))

    def path_of_class(self, path: Path, name: str) -> Path:
        """Return the file of one class, by a name of it that a file can have.

        >>> vector_format_named("qupath").path_of_class(Path("a/b.qupath.geojson"), "tree")
        PosixPath('a/b.tree.qupath.geojson')
        """
        endings = (ending for ending in self.extensions if path.name.lower().endswith(ending))
        ending = next(endings, path.suffix)
        whole = path.name[len(path.name) - len(ending) :]
        return path.with_name(f"{path.name.removesuffix(whole)}.{name}{whole}")

    def check_crs(self, raster: str, crs: CRS | None) -> None:
        """Refuse a raster whose CRS the format cannot hold, before anything is computed.

        Raises
        ------
        UsageError
            Naming the format and the raster.
        """
        if crs is None:
            if self.needs_crs:
                msg = f"{self.name} needs a CRS, and {raster} has none; use parquet, gpkg or geojson"
                raise UsageError(msg)
            return
        if self.fixed_crs not in {None, "pixels"} and not _is_on_earth(crs):
            msg = (
                f"{self.name} holds {self.fixed_crs}, to which {crs.name!r}, the CRS of {raster}, cannot be converted; "
                "use parquet or gpkg"
            )
            raise UsageError(msg)

    def check_objects(self, *, has_objects: bool) -> None:
        """Refuse a request without objects for a format of objects, before anything is computed.

        Raises
        ------
        UsageError
            Naming the format.
        """
        if self.needs_objects and not has_objects:
            msg = (
                f"{self.name} holds objects alone, and no class has any; name one by --objects, such as CLASS"
            )
            raise UsageError(msg)

    def write(self, path: Path, layer: Layer) -> tuple[str, ...]:
        """Write a whole layer to a path; return what the user should know of it."""
        return cast(Writer, resolve_name(self.writer))(path, layer)


def _is_on_earth(crs: CRS) -> bool:
    """Return whether coordinates can be converted to longitude and latitude: those of a building site cannot."""
    try:
        Transformer.from_crs(crs, "EPSG:4326")
    except ProjError:
        return False
    return True


VECTOR_FORMATS = (
    VectorFormat(
        "objects",
        (".objects.parquet",),
        f"{_FOLDER}.object_files:write_object_table",
        "application/vnd.apache.parquet",
        has_class_column=False,
        needs_objects=True,
    ),
    VectorFormat(
        "labels",
        (".labels.zarr",),
        f"{_FOLDER}.object_files:write_label_zarr",
        "application/vnd.zarr; version=3",
        has_class_column=False,
        needs_objects=True,
        own_folder=f"{_FOLDER}.object_files:is_label_zarr",
    ),
    VectorFormat(
        "labels-cog",
        (".labels.tif",),
        f"{_FOLDER}.object_files:write_label_cog",
        "image/tiff; application=geotiff; profile=cloud-optimized",
        has_class_column=False,
        needs_objects=True,
    ),
    VectorFormat(
        "parquet",
        (".parquet", ".geoparquet"),
        f"{_FOLDER}.geoparquet:write_geoparquet",
        "application/vnd.apache.parquet",
    ),
    VectorFormat(
        "gpkg",
        (".gpkg",),
        f"{_FOLDER}.ogr_files:write_geopackage",
        "application/geopackage+sqlite3",
        driver="GPKG",
    ),
    VectorFormat(
        "fgb",
        (".fgb",),
        f"{_FOLDER}.ogr_files:write_flatgeobuf",
        "application/vnd.flatgeobuf",
        driver="FlatGeobuf",
    ),
    VectorFormat(
        "qupath",
        (".qupath.geojson", ".qupath.json"),
        f"{_FOLDER}.qupath:write_qupath",
        "application/geo+json",
        "pixels",
        has_class_column=False,
    ),
    VectorFormat(
        "geojson",
        (".geojson", ".json"),
        f"{_FOLDER}.ogr_files:write_geojson",
        "application/geo+json",
        "WGS 84 longitude, latitude",
        driver="GeoJSON",
    ),
    VectorFormat(
        "geojsonl",
        (".geojsonl", ".geojsons", ".ndjson"),
        f"{_FOLDER}.ogr_files:write_geojson_lines",
        "application/geo+json-seq",
        "WGS 84 longitude, latitude",
        driver="GeoJSONSeq",
    ),
    VectorFormat(
        "pmtiles",
        (".pmtiles",),
        f"{_FOLDER}.ogr_files:write_pmtiles",
        "application/vnd.pmtiles",
        "Web Mercator",
        driver="PMTiles",
        needs_crs=True,
    ),
    VectorFormat(
        "shp",
        (".shp",),
        f"{_FOLDER}.shapefile:write_shapefile",
        "application/vnd.shp",
        driver="ESRI Shapefile",
        siblings=(".shx", ".dbf", ".prj", ".cpg"),
    ),
    VectorFormat(
        "kml",
        (".kml",),
        f"{_FOLDER}.kml:write_kml",
        "application/vnd.google-earth.kml+xml",
        "WGS 84 longitude, latitude",
        driver="KML",
        needs_crs=True,
    ),
)


def class_endings(classes: Sequence[MapClass]) -> list[str]:
    """Return what names of files have of the names of classes: each another, on disks that know no capitals too.

    >>> class_endings([MapClass(1, "tall tree", (0, 0, 0)), MapClass(2, "Tall/tree", (0, 0, 0))])
    ['tall_tree', 'Tall_tree_2']
    """
    found: list[str] = []
    for entry in classes:
        name = re.sub(r"[^\w-]+", "_", entry.name)[:LONGEST_NAME].strip("_") or f"class_{entry.code}"
        is_taken = name.lower() in {other.lower() for other in found}
        found.append(f"{name}_{entry.code}" if is_taken else name)
    return found


def layer_names(classes: Sequence[MapClass]) -> list[str]:
    """Return names for layers of a GeoPackage, one for each class: each another, and none that is a table of it.

    >>> layer_names([MapClass(1, "tall tree", (0, 0, 0)), MapClass(2, "gpkg_contents", (0, 0, 0))])
    ['tall_tree', 'class_gpkg_contents']
    """
    endings = class_endings(classes)
    return [f"class_{name}" if name.lower().startswith(TABLES) else name for name in endings]


def vector_format_named(name: str) -> VectorFormat:
    """Return the format with a name that is known to be one."""
    return next(known for known in VECTOR_FORMATS if known.name == name)


def vector_format(path: Path, name: str | VectorFormat | None = None) -> VectorFormat:
    """Return the format with this name, or the one that the ending of the path means.

    Raises
    ------
    UsageError
        When there is no such format.
    """
    if isinstance(name, VectorFormat):
        return name
    for known in VECTOR_FORMATS:
        if known.name == name or (name is None and path.name.lower().endswith(known.extensions)):
            return known
    names = ", ".join(f"{f.name} ({f.extensions[0]})" for f in VECTOR_FORMATS)
    msg = f"{name or path.name!r} is no vector format known here; choose one of: {names}"
    raise UsageError(msg)
