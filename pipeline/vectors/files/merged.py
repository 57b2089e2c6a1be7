"""GeoParquet files of several scenes as one, row group by row group, in one CRS, with a column that names the scene."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from segment_tiles.pipeline.errors import VectorError, one_line
from segment_tiles.pipeline.grid.classes import MapClass
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.vectors.files.geoparquet import BOX, geo_metadata
from segment_tiles.pipeline.vectors.geometry.antimeridian import WGS84, on_the_globe
from segment_tiles.pipeline.vectors.geometry.rings import Polygons

SCENE: Final = "scene"
"""Column with the name of the scene."""
_LAST: Final = ("geometry", "bbox")


class DamagedSceneError(VectorError):
    """The polygons of one scene cannot be read; those of the others can be merged.

    Parameters
    ----------
    name
        Of the scene.
    file, error
        What cannot be read, and why.
    """

    def __init__(self, name: str, file: Path, error: Exception) -> None:
        super().__init__(f"{file} cannot be read as GeoParquet: {one_line(error)}; make it again with export")
        self.name = name


UNREADABLE: Final[tuple[type[Exception], ...]] = (OSError, ValueError, KeyError, TypeError, pa.ArrowException)


@dataclass(slots=True)
class Merged:
    """What a merged file holds."""

    features: int = 0
    """Number of features."""
    classes: dict[int, set[tuple[str, str]]] = field(default_factory=dict)
    """Name and colour of each code; several if scenes differ."""
    bounds: list[Any] = field(default_factory=list)
    """xmin, ymin, xmax, ymax of each row group."""

    def styled(self) -> tuple[MapClass, ...] | None:
        """Return the classes, or None if scenes give one code to several."""
        if any(len(found) > 1 for found in self.classes.values()):
            return None
        return tuple(
            MapClass(code, name, _rgb(color))
            for code, ((name, color),) in sorted((code, tuple(found)) for code, found in self.classes.items())
        )


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue


def write_merged(path: Path, scenes: Sequence[tuple[str, Path]], crs: CRS | None) -> Merged:
    """Write the features of all scenes, one scene after the other; a row group is in memory at a time.

    Parameters
    ----------
    path
        File to write.
    scenes
        Name and GeoParquet file of each.
    crs
        Of the file; None: that of the first scene, which all others have too.

    Raises
    ------
    DamagedSceneError
        If a file cannot be read.
    VectorError
        If a feature or all of a scene have no position in the CRS.
    """
    files = [_Scene.of(name, file) for name, file in scenes]
    target = crs if crs is not None else (files[0].crs if files else None)
    _refuse_without_position(files, target)
    schema = _common_schema(files)
    made = Merged()
    with pq.ParquetWriter(
        path, schema, compression="zstd", write_statistics=True, use_dictionary=[SCENE, "class_name", "color"]
    ) as writer:
        for scene in files:
            for table in scene.tables(target):
                _note(made, table)
                writer.write_table(_as(table, schema), row_group_size=max(1, table.num_rows))
        has_multiple = any(scene.has_multiple for scene in files) or (
            target == CRS(WGS84) and any(scene.crs != target for scene in files)
        )
        metadata = geo_metadata(target, made.bounds, has_multiple=has_multiple)
        writer.add_key_value_metadata({"geo": json_text(metadata, indent=None)})
    return made


@dataclass(frozen=True, slots=True)
class _Scene:
    """The GeoParquet file of one scene."""

    name: str
    file: Path
    schema: pa.Schema
    crs: CRS | None
    has_multiple: bool

    @classmethod
    def of(cls, name: str, file: Path) -> _Scene:
        try:
            metadata = pq.read_metadata(file)
            schema = metadata.schema.to_arrow_schema()
            column = json.loads(metadata.metadata[b"geo"])["columns"]["geometry"]
            crs = None if column["crs"] is None else CRS.from_json_dict(column["crs"])
        except UNREADABLE as error:
            raise DamagedSceneError(name, file, error) from error
        return cls(name, file, schema.remove_metadata(), crs, "MultiPolygon" in column["geometry_types"])

    def tables(self, target: CRS | None) -> Iterator[pa.Table]:
        """Yield row groups in a CRS, with the column of the scene."""
        with pq.ParquetFile(self.file) as file:
            for number in range(file.num_row_groups):
                try:
                    table = file.read_row_group(number)
                except UNREADABLE as error:
                    raise DamagedSceneError(self.name, self.file, error) from error
                if target is not None and self.crs is not None and self.crs != target:
                    table = _moved(table, self.crs, target, self.name)
                names = pa.DictionaryArray.from_arrays(
                    pa.array(np.zeros(table.num_rows, np.int32)), pa.array([self.name])
                ).cast(pa.string())
                yield table.add_column(0, SCENE, names)


def _refuse_without_position(files: Sequence[_Scene], target: CRS | None) -> None:
    for scene in files:
        if (scene.crs is None) != (target is None):
            its, wanted = (("no CRS" if crs is None else crs.name) for crs in (scene.crs, target))
            msg = (
                f"{scene.name}: its polygons are in {its}, those of the file in {wanted}; leave the scene out"
            )
            raise VectorError(msg)


def _common_schema(files: Sequence[_Scene]) -> pa.Schema:
    """Return the columns of all scenes; units are in their names, so that another unit is another column."""
    fields: dict[str, pa.Field] = {SCENE: pa.field(SCENE, pa.string())}
    for scene in files:
        for entry in scene.schema:
            fields.setdefault(entry.name, entry)
    ordered = [entry for name, entry in fields.items() if name not in _LAST]
    return pa.schema([*ordered, *(fields[name] for name in _LAST if name in fields)])


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with all columns of a schema; those that it has not are null."""
    columns = [
        table[entry.name] if entry.name in table.column_names else pa.nulls(table.num_rows, entry.type)
        for entry in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _moved(table: pa.Table, crs: CRS, target: CRS, name: str) -> pa.Table:
    """Return features in another CRS, shells counter-clockwise, with their boxes."""
    geometries = _transformed(shapely.from_wkb(table["geometry"].to_numpy()), crs, target)
    geometries = shapely.orient_polygons(geometries, exterior_cw=False)
    bounds = shapely.bounds(geometries)
    if not np.isfinite(bounds).all():
        msg = f"{name}: a polygon has no position in {target.name}; name another CRS by merged-crs"
        raise VectorError(msg)
    box = pa.StructArray.from_arrays([pa.array(side) for side in bounds.T], names=list(BOX))
    table = table.set_column(
        table.schema.get_field_index("geometry"),
        "geometry",
        pa.array(shapely.to_wkb(geometries), pa.binary()),
    )
    return table.set_column(table.schema.get_field_index("bbox"), "bbox", box)


def _transformed(geometries: Polygons, crs: CRS, target: CRS) -> Any:
    if target == CRS(WGS84):
        return on_the_globe(geometries, crs).geometries
    move = Transformer.from_crs(crs, target, always_xy=True)

    def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(move.transform(points[:, 0], points[:, 1]))

    return shapely.transform(geometries, moved)


def _note(made: Merged, table: pa.Table) -> None:
    made.features += table.num_rows
    rows = table.select(["class_code", "class_name", "color"]).group_by(["class_code", "class_name", "color"])
    for row in rows.aggregate([]).to_pylist():
        made.classes.setdefault(row["class_code"], set()).add((row["class_name"], row["color"]))
    sides = [pa.compute.struct_field(table["bbox"], side).to_numpy() for side in BOX]
    if table.num_rows:
        made.bounds.append(np.array([sides[0].min(), sides[1].min(), sides[2].max(), sides[3].max()]))
