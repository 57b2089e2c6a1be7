"""The Zarr store of a run: full-resolution arrays in the root group, overviews in child groups.

::

    classes.zarr/        Zarr 3 group
      classes            rows x columns; uint8 with nodata 255, or uint16 with nodata 65535
      confidence         rows x columns, uint8: highest probability x 255, 0 at nodata
      scores             classes x rows x columns, uint8: if asked for
      masks              classes x rows x columns, uint8: 1 where a class is; of models whose classes may overlap
      1/ 2/ ...          classes and confidence again, each level half the size of the one before

A shard is 512 rows high, the step in which a run is finished and written, and up to 4096 columns
wide; inside it chunks of 512 x 512 are what a reader decompresses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec
from zarr.core.group import GroupMetadata
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.dtype import parse_dtype
from zarr.storage import LocalStore

from segment_tiles.pipeline.errors import OutputError, one_line
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.objects import rules_json, rules_of_json
from segment_tiles.pipeline.outputs.finished_file import finished_file, make_output_folder
from segment_tiles.pipeline.outputs.stores.conventions import DIMENSIONS, array_attributes, group_attributes
from segment_tiles.pipeline.outputs.stores.seals import from_plain, is_tree_kept, read_sealed

CHUNK: Final = 512
"""Side of a chunk, in pixels."""
SHARD_ROWS: Final = 512
"""Rows of a shard: what is written whole, once."""
SHARD_COLUMNS_AT_MOST: Final = 8 * CHUNK
"""Columns of a shard of a wide raster."""
SHARDS: Final = "c"
"""Folder of an array in which its shards lie."""
COMPRESSORS: Final = (BloscCodec(cname="zstd", clevel=1, shuffle="noshuffle"), Crc32cCodec())
"""Of every chunk; the checksum makes damage an error to every reader, and never a class."""
SEALS_BESIDE: Final = Path(".segment-tiles", "store.json")
"""Beside a finished store: size and checksum of each of its files."""
ATTRIBUTE: Final = "segment_tiles"
"""Key of our own attributes on the root group."""


def shard_shape(width: int) -> tuple[int, int]:
    """Return rows and columns of a shard for a raster of this width.

    >>> shard_shape(400), shard_shape(100_000)
    ((512, 512), (512, 4096))
    """
    columns = -(-width // CHUNK) * CHUNK
    return SHARD_ROWS, min(columns, SHARD_COLUMNS_AT_MOST)


def create_store(
    path: Path,
    shape: tuple[int, int],
    georef: GeoRef,
    table: ClassTable,
    *,
    with_scores: bool = False,
    scored: ClassTable | None = None,
    masks: Sequence[int] = (),
) -> Path:
    """Create the empty arrays of a run, replacing what was there: under another name first, then on the disk.

    Returns the folder of the store.

    Parameters
    ----------
    path
        Folder of the store.
    shape
        Rows and columns.
    georef, table
        Its georeference and what its codes mean; both are kept in the attributes.
    with_scores
        Whether the probabilities of all classes are kept too.
    scored
        Classes of these: those of the model; None: the same.
    masks
        If classes may overlap, and each has a mask: their codes in the map, in the order of the classes of the model;
        last the code of pixels that have none of them.
    """
    make_output_folder(path.parent)
    with finished_file(path) as partial:
        kept = (scored or table) if with_scores else None
        # all at once: each node that is made later costs as much as all of them
        nodes = _nodes(shape, georef, table, kept, masks)
        dict(zarr.create_hierarchy(store=LocalStore(partial), nodes=nodes))
    return path


def _nodes(
    shape: tuple[int, int],
    georef: GeoRef,
    table: ClassTable,
    scored: ClassTable | None,
    masks: Sequence[int],
) -> dict[str, Any]:
    """Return what the group and its arrays are, by their path in it."""
    own: dict[str, Any] = {
        "classes": [asdict(entry) | {"color": list(entry.color)} for entry in table.classes],
        "nodata": table.nodata,
        **own_georef(georef),
        **({"objects": rules_json(table.objects)} if table.objects else {}),
        **names_of_scores(table, scored),
        **codes_of_masks(masks),
    }
    placed = array_attributes(georef, shape)
    nodes: dict[str, Any] = {
        "": GroupMetadata(attributes={**group_attributes(georef, shape), ATTRIBUTE: own}),
        "classes": _array_metadata(shape, table.dtype, table.nodata, placed),
        "confidence": _array_metadata(shape, "uint8", 0, placed),
    }
    if scored is not None:
        nodes["scores"] = _array_metadata((scored.count, *shape), "uint8", 0, placed)
    if masks:
        nodes["masks"] = _array_metadata((len(masks) - 1, *shape), "uint8", 0, placed)
    return nodes


def create_array(
    group: zarr.Group,
    name: str,
    shape: Sequence[int],
    dtype: str,
    fill_value: int,
    attributes: dict[str, Any],
) -> zarr.Array[Any]:
    """Create a sharded, compressed array whose last two dimensions are rows and columns.

    Shards that hold nothing but the fill value are not stored.
    """
    path = f"{group.path}/{name}".lstrip("/")
    node = _array_metadata(shape, dtype, fill_value, attributes)
    made: dict[str, Any] = dict(zarr.create_hierarchy(store=group.store, nodes={path: node}))
    array: zarr.Array[Any] = made[path]
    return array


def _array_metadata(
    shape: Sequence[int], dtype: str, fill_value: int, attributes: dict[str, Any]
) -> ArrayV3Metadata:
    leading = len(shape) - 2
    shards, chunks = (*shape[:leading], *shard_shape(shape[-1])), (*(1,) * leading, CHUNK, CHUNK)
    return ArrayV3Metadata(
        shape=tuple(shape),
        data_type=parse_dtype(dtype, zarr_format=3),
        chunk_grid={"name": "regular", "configuration": {"chunk_shape": shards}},
        chunk_key_encoding={"name": "default", "configuration": {"separator": "/"}},
        fill_value=fill_value,
        codecs=[ShardingCodec(chunk_shape=chunks, codecs=[BytesCodec(), *COMPRESSORS])],
        dimension_names=(*("class",) * leading, *DIMENSIONS),
        attributes=attributes,
    )


def open_store(path: Path, mode: str = "r") -> zarr.Group:
    """Open the store of a run.

    Raises
    ------
    OutputError
        If the folder is not a store of this program, or one of a finished run that has lost a file or a part of
        one: to Zarr a shard that is not there, or is empty, is one without any class. Or if its metadata were
        changed.
    """
    fields = read_sealed(path.parent / SEALS_BESIDE)
    if fields is not None and not is_tree_kept(path, from_plain(fields["files"]), sizes_only=True):
        msg = (
            f"{path}: a file of it was lost, cut or changed since the run wrote it; start the same run again, "
            "which makes it whole"
        )
        raise OutputError(msg)
    try:
        group = zarr.open_group(path, mode=mode, zarr_format=3)  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path}: is not a Zarr store of a run ({one_line(error)}); give the folder made by `run`"
        raise OutputError(msg) from error
    if not isinstance(group.attrs.get(ATTRIBUTE), Mapping):
        msg = f"{path}: is a Zarr group without the attribute {ATTRIBUTE!r}; give the folder made by `run`"
        raise OutputError(msg)
    return group


def read_class_table(group: zarr.Group) -> ClassTable:
    """Return what the codes of a store mean."""
    with attributes_of(group) as own:
        classes = tuple(MapClass(e["code"], e["name"], _color(e["color"])) for e in own["classes"])
        return ClassTable(classes, rules_of_json(own.get("objects", {})))


def names_of_scores(table: ClassTable, scored: ClassTable | None) -> dict[str, Any]:
    """Return the attribute with the classes of the scores, if they are others than those of the map."""
    return {} if scored is None or scored.names == table.names else {"scores": list(scored.names)}


def codes_of_masks(masks: Sequence[int]) -> dict[str, Any]:
    """Return the attribute with the code of each mask in the map, if they are not 0, 1, 2, ..."""
    return {} if list(masks) == list(range(len(masks))) else {"masks": list(masks)}


def read_score_names(group: zarr.Group) -> tuple[str, ...]:
    """Return the classes whose probabilities a store has, in their order: those of the model."""
    with attributes_of(group) as own:
        return tuple(own.get("scores") or read_class_table(group).names)


def _color(values: Sequence[int]) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in values)
    return red, green, blue


@contextmanager
def attributes_of(group: zarr.Group) -> Iterator[dict[str, Any]]:
    """Give the attributes of a store to the body of a ``with``, which reads them.

    Raises
    ------
    OutputError
        It does not hold what this program writes there.
    """
    own: Any = group.attrs[ATTRIBUTE]
    try:
        yield dict(own)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        msg = (
            f"{group.store_path}: its attribute {ATTRIBUTE!r} is damaged ({type(error).__name__}: {one_line(error)}); "
            "copy the result again, or make it anew with --restart"
        )
        raise OutputError(msg) from error


def own_georef(georef: GeoRef) -> dict[str, Any]:
    """Return what `read_georef` reads, as an entry of the attribute of this program."""
    return {"georef": asdict(georef) | {"transform": list(georef.transform)}}


def read_georef(group: zarr.Group) -> GeoRef:
    """Return the georeference of a store."""
    with attributes_of(group) as own:
        georef: Any = own["georef"]
        full = georef.get("full_resolution")
        return GeoRef(
            _numbers(georef["transform"], 6),
            georef["crs_wkt"],
            georef["unit"],
            None if full is None else tuple(full),
        )


def _numbers(values: Sequence[float], count: int) -> tuple[Any, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        msg = f"{values} are not {count} numbers"
        raise ValueError(msg)
    return numbers


def array_of(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """Return an array of a group by name.

    Raises
    ------
    OutputError
        If the store has no such array, or its description is damaged.
    """
    try:
        array = group.get(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{group.store_path}/{name}: cannot be read as an array ({one_line(error)}); copy the result again"
        raise OutputError(msg) from error
    if not isinstance(array, zarr.Array):
        msg = f"{group.store_path}: has no array {name!r}; run again with the option that makes it"
        raise OutputError(msg)
    return array


def folder_of(group: zarr.Group) -> Path:
    """Return the folder of a store on this machine's file systems."""
    store: Any = group.store_path.store
    return Path(store.root, group.store_path.path)


def shard_file(array: zarr.Array[Any], index: Sequence[int]) -> str:
    """Return the path of a shard in the folder of its array."""
    metadata: Any = array.metadata
    return str(metadata.encode_chunk_key(tuple(index)))
