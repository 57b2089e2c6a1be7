"""The Zarr store of a volume: slices x rows x columns, as people look at them, and how to put them back.

::

    classes.zarr/        Zarr 3 group
      classes            slice x row x column; uint8 with nodata 255, or uint16 with nodata 65535
      confidence         slice x row x column, uint8: highest probability x 255, 0 at nodata
      scores             class x slice x row x column, uint8: if asked for
      masks              class x slice x row x column, uint8: if classes may overlap

A shard is one slice, 512 rows high and up to 4096 columns wide: what is written whole, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr

from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.volume import Matrix, Slicing, VolumeSpec, as_matrix
from segment_tiles.pipeline.outputs.finished_file import finished_file, make_output_folder
from segment_tiles.pipeline.outputs.stores.store import (
    ATTRIBUTE,
    COMPRESSORS,
    array_of,
    attributes_of,
    codes_of_masks,
    names_of_scores,
    open_store,
    shard_shape,
)

CHUNK: Final = 128
"""Side of a chunk inside a slice, in voxels: slices are smaller than rasters."""
DIMENSIONS: Final = ("slice", "row", "column")


@dataclass(frozen=True, slots=True)
class VolumeGeometry:
    """The position of a result: the box of the source that it covers, and how it is turned."""

    slicing: Slicing
    """From stored axes to slices, rows and columns."""
    origin: tuple[int, int, int]
    """First stored voxel of the box in the source."""
    shape: tuple[int, int, int]
    """Stored voxels of the box."""
    source_shape: tuple[int, int, int]
    """Stored voxels of the source."""
    affine: Matrix
    """Stored voxel of the box to millimetres in RAS+."""
    nifti_header: bytes | None = None
    """Header of the source, if it is NIfTI."""

    @property
    def is_whole(self) -> bool:
        """Whether the result covers the whole source."""
        return self.shape == self.source_shape

    @property
    def spec(self) -> VolumeSpec:
        """The box as a volume of its own."""
        return VolumeSpec(self.shape, 1, "uint8", self.affine)


def geometry_of(
    spec: VolumeSpec, slicing: Slicing, origin: tuple[int, int, int], shape: tuple[int, int, int]
) -> VolumeGeometry:
    """Return the geometry of a box of a volume."""
    affine = np.asarray(spec.affine).copy()
    affine[:3, 3] += affine[:3, :3] @ np.asarray(origin, dtype=float)
    return VolumeGeometry(slicing, origin, shape, spec.shape, as_matrix(affine), spec.nifti_header)


def create_volume_store(
    path: Path,
    geometry: VolumeGeometry,
    table: ClassTable,
    *,
    with_scores: bool = False,
    scored: ClassTable | None = None,
    masks: Sequence[int] = (),
    chunk: int = CHUNK,
) -> zarr.Group:
    """Create the empty arrays of a run on a volume, replacing what was there: under another name first.

    Parameters
    ----------
    path
        Folder of the store.
    geometry, table
        Its geometry and what its codes mean; both are kept in the attributes.
    with_scores
        Whether the probabilities of all classes are kept too.
    scored
        Classes of these: those of the model; None: the same.
    masks
        If classes may overlap, and each has a mask: as `create_store` has them.
    chunk
        Side of a chunk: a divisor of 512.
    """
    make_output_folder(path.parent)
    with finished_file(path) as partial:
        kept = (scored or table) if with_scores else None
        group = _create_arrays(partial, geometry, table, kept, masks, chunk)
        if masks:
            cube = (len(masks) - 1, *geometry.slicing.shape_of(geometry.shape))
            _create(group, "masks", cube, "uint8", 0, chunk)
    return open_store(path, "r+")


def _create_arrays(
    path: Path,
    geometry: VolumeGeometry,
    table: ClassTable,
    scored: ClassTable | None,
    masks: Sequence[int],
    chunk: int,
) -> zarr.Group:
    header = geometry.nifti_header
    own: dict[str, Any] = {
        "classes": [asdict(entry) | {"color": list(entry.color)} for entry in table.classes],
        "nodata": table.nodata,
        "volume": asdict(replace(geometry, nifti_header=None))
        | {"nifti_header": None if header is None else header.hex()},
        "slice_row_column_to_ras_mm": geometry.slicing.affine_of(geometry.spec).tolist(),
        **names_of_scores(table, scored),
        **codes_of_masks(masks),
    }
    group = zarr.open_group(path, mode="w", zarr_format=3, attributes={ATTRIBUTE: own})
    shape = geometry.slicing.shape_of(geometry.shape)
    _create(group, "classes", shape, table.dtype, table.nodata, chunk)
    _create(group, "confidence", shape, "uint8", 0, chunk)
    if scored is not None:
        _create(group, "scores", (scored.count, *shape), "uint8", 0, chunk)
    return group


def read_geometry(group: zarr.Group) -> VolumeGeometry:
    """Return the geometry of the result of a volume.

    Raises
    ------
    OutputError
        If the store is that of a raster.
    """
    if array_of(group, "classes").ndim != len(DIMENSIONS):
        msg = f"{group.store_path}: is the result of a raster, not of a volume"
        raise OutputError(msg)
    with attributes_of(group) as own:
        fields = dict(own["volume"])
        slicing = fields["slicing"]
        header = fields["nifti_header"]
        return VolumeGeometry(
            Slicing(slicing["axis"], tuple(slicing["order"]), tuple(slicing["flipped"])),
            _three(fields["origin"]),
            _three(fields["shape"]),
            _three(fields["source_shape"]),
            as_matrix(np.asarray(fields["affine"])),
            None if header is None else bytes.fromhex(header),
        )


def _three(values: Sequence[int]) -> tuple[int, int, int]:
    first, second, third = values
    return first, second, third


def _create(
    group: zarr.Group, name: str, shape: Sequence[int], dtype: str, fill_value: int, chunk: int
) -> None:
    classes = tuple(shape[:-3])
    group.create_array(
        name,
        shape=tuple(shape),
        dtype=dtype,
        shards=(*classes, 1, *shard_shape(shape[-1])),
        chunks=(*(1,) * len(classes), 1, chunk, chunk),
        compressors=COMPRESSORS,
        fill_value=fill_value,
        dimension_names=(*("class",) * len(classes), *DIMENSIONS),
    )
