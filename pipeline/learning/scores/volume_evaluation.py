"""The class map of a volume and its truth as sheets of slices, with a gap as wide as the widest boundary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import ReadFailedError, TrainingError, one_line
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.volume import Slicing, VolumeSpec, box_in_view
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.sheet import Sheet
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.outputs.stores.store import array_of, read_class_table
from segment_tiles.pipeline.outputs.stores.volume_store import VolumeGeometry, read_geometry
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.volume import read_volume, read_volume_spec
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec

GRID_TOLERANCE = 1e-3
"""Millimetres by which two grids may differ and still be the same."""


class SheetOfClasses:
    """The class map of a volume as a class raster."""

    def __init__(self, group: zarr.Group, sheet: Sheet) -> None:
        self._classes, self._confidence = array_of(group, "classes"), array_of(group, "confidence")
        self._sheet = sheet
        table = read_class_table(group)
        self.spec = ClassRasterSpec(
            sheet.height,
            sheet.columns,
            table.dtype,
            table.nodata,
            GeoRef.of_pixels(),
            table.classes,
            has_confidence=True,
            masks=table.codes if "masks" in group else (),
        )

    def read(self, window: Window) -> NDArray[np.integer]:
        """Return the codes of a window; nodata between slices."""
        return self._read(self._classes, window, self.spec.nodata or 0)

    def read_confidence(self, window: Window) -> NDArray[np.uint8]:
        """Return the confidence bytes of a window."""
        return self._read(self._confidence, window, 0)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _read(self, array: zarr.Array[Any], window: Window, between: int) -> NDArray[Any]:
        values = np.full(window.shape, between, dtype=array.dtype)
        for number, inside, here in self._sheet.parts(window):
            try:
                values[here.slices()] = array[(number, *inside.slices())]
            except (
                OSError,
                ValueError,
                RuntimeError,
            ) as error:  # zarr raises each of them for damaged chunks
                msg = f"reading slice {number} of {array.store_path} failed: {one_line(error)}"
                raise ReadFailedError(msg) from error
        return values


class SheetOfTruth:
    """True classes of the slices of a sheet, as a label reader."""

    notes: tuple[str, ...] = ()

    def __init__(self, codes: NDArray[np.uint8], sheet: Sheet) -> None:
        self._codes, self._sheet = codes, sheet

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return class codes, ``IGNORE_CODE`` if there is no truth."""
        values = np.full(window.shape, IGNORE_CODE, np.uint8)
        for number, inside, here in self._sheet.parts(window):
            values[here.slices()] = self._codes[(number, *inside.slices())]
        return values

    def close(self) -> None:
        """Do nothing: no file stays open."""


def sheet_of(group: zarr.Group, slices: tuple[int, int] | None, gap: int) -> Sheet:
    """Lay out slices of a result; ``slices`` counts those of the whole volume, both ends included.

    Raises
    ------
    TrainingError
        If the result has no such slices.
    """
    geometry = read_geometry(group)
    _, rows, columns = array_of(group, "classes").shape
    (first, stop), _ = box_in_view(geometry.slicing, geometry.source_shape, geometry.origin, geometry.shape)
    low, high = slices or (first, stop - 1)
    if not first <= low <= high < stop:
        msg = f"slices {low} to {high} are to be scored; the map has {first} to {stop - 1} ({geometry.slicing.name})"
        raise TrainingError(msg)
    return Sheet(tuple(range(low - first, high - first + 1)), rows, columns, gap)


def labels_from_codes(
    path: str, geometry: VolumeGeometry, values: Mapping[str, str], names: Sequence[str]
) -> NDArray[np.uint8]:
    """Return class codes from a volume of labels, slices x rows x columns of the result.

    Parameters
    ----------
    path
        The volume.
    geometry
        Of the result.
    values
        Value in the volume -> class name; empty: the values are the codes of the map.
    names
        Classes of the map in the order of their codes.

    Raises
    ------
    TrainingError
        If the grid is another one, or no value is that of a class.
    """
    labels = _on_grid(path, geometry)
    codes = np.full(labels.shape, IGNORE_CODE, np.uint8)
    meanings = {str(code): name for code, name in enumerate(names)} if not values else dict(values)
    for value, name in meanings.items():
        codes[labels == float(value)] = names.index(name)
    if (codes == IGNORE_CODE).all():
        found = ", ".join(f"{value:g}" for value in np.unique(labels)[:8])
        msg = f"{path} holds the values {found}; none is that of a class: say what they mean by --class-value"
        raise TrainingError(msg)
    return codes


def labels_from_probabilities(
    paths: Mapping[str, str], remainder: str, geometry: VolumeGeometry, names: Sequence[str]
) -> NDArray[np.uint8]:
    """Return the class of the highest probability; ``remainder`` has what the others leave of one.

    Parameters
    ----------
    paths
        Class name -> its probability, 0 to 1, or 0 to the largest value of an integer type.
    remainder
        Class whose probability is what is left of one.
    geometry, names
        As in `labels_from_codes`.

    Raises
    ------
    TrainingError
        If a grid is another one.
    """
    shares = []
    for path in paths.values():
        values = _on_grid(path, geometry)
        full = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1.0
        shares.append(values.astype(np.float32) / np.float32(full))
    rest = 1 - np.sum(shares, axis=0)
    codes = np.array([names.index(name) for name in (*paths, remainder)], dtype=np.uint8)
    highest: NDArray[np.uint8] = codes[np.argmax([*shares, rest], axis=0)]
    return highest


def _on_grid(path: str, geometry: VolumeGeometry) -> NDArray[Any]:
    """Return a volume on slices, rows and columns of the result.

    It may be stored in another order or turned, as long as its voxels have the same positions.
    """
    spec = read_volume_spec(path, Selection())
    own = Slicing.along(geometry.slicing.axis, spec.affine)
    whole = VolumeSpec(geometry.source_shape, 1, "uint8", _whole_affine(geometry))
    same_shape = own.shape_of(spec.shape) == geometry.slicing.shape_of(whole.shape)
    if not same_shape or not np.allclose(
        own.affine_of(spec), geometry.slicing.affine_of(whole), atol=GRID_TOLERANCE
    ):
        msg = (
            f"{path} has {spec.shape} voxels from {_origin(spec)} mm, the volume of the map {whole.shape} from "
            f"{_origin(whole)} mm; the truth must be on the same grid"
        )
        raise TrainingError(msg)
    slices, window = box_in_view(geometry.slicing, geometry.source_shape, geometry.origin, geometry.shape)
    view = own.view(read_volume(path, Selection()))[0]
    cut: NDArray[Any] = view[(slice(*slices), *window.slices())]
    return cut


def _whole_affine(geometry: VolumeGeometry) -> Any:
    affine = np.asarray(geometry.affine).copy()
    affine[:3, 3] -= affine[:3, :3] @ np.asarray(geometry.origin, dtype=float)
    return tuple(tuple(row) for row in affine.tolist())


def _origin(spec: VolumeSpec) -> str:
    return ",".join(f"{row[3]:.4g}" for row in spec.affine[:3])
