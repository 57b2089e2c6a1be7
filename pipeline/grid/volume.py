"""VolumeSpec and Slicing: what is known of a volume, and how it is cut into slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window

ANATOMICAL_AXES: Final = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Axis of a volume in RAS+ order (to the right, to the front, upward), along which slices are cut."""

Matrix = tuple[tuple[float, ...], ...]
"""4 x 4, row by row: stored voxel index (i, j, k, 1) to millimetres in RAS+."""


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """Shape, type and position of a volume; known without reading a voxel."""

    shape: tuple[int, int, int]
    """Voxels along the stored axes i, j, k."""
    channels: int
    """Values of one voxel."""
    dtype: str
    """NumPy name of the type of a value, in the scale that the file declares."""
    affine: Matrix
    """Centre of voxel (i, j, k) in millimetres, RAS+."""
    nodata: float | None = None
    """Value that marks an invalid voxel, or None."""
    nifti_header: bytes | None = None
    """Header of a NIfTI source as it stands in the file, so that a mask can repeat it."""
    times: int = 1
    """Volumes along the fourth axis of the source, of which one or several are read."""
    has_known_depth: bool = True
    """False for a single slice that does not say how thick it is; the affine then has a step of 1 mm."""
    notes: tuple[str, ...] = ()
    """What the user should know of how the source was understood."""

    @property
    def voxel_volume(self) -> float:
        """Cubic millimetres of one voxel."""
        return abs(float(np.linalg.det(np.asarray(self.affine)[:3, :3])))

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all values, as they are held in memory."""
        return self.voxels * self.channels * int(np.dtype(self.dtype).itemsize)


@dataclass(frozen=True, slots=True)
class Slicing:
    """Stored axes put in the order slice, row, column, each turned as people look at it.

    ::

        sagittal (slices to the right)   coronal (slices to the front)   axial (slices upward)
             up                               up                              front
        back +--+ front                  left +--+ right                 left +--+ right
             +--+                             +--+                            +--+
             down                             down                            back

    Stored axes that lie oblique in the body count as the anatomical axis that they are closest to.
    """

    axis: int
    """Anatomical axis along which slices are cut: 0 sagittal, 1 coronal, 2 axial."""
    order: tuple[int, int, int]
    """Stored axis of slice, row and column."""
    flipped: tuple[bool, bool, bool]
    """Whether slices, rows and columns count against the stored axis."""

    @classmethod
    def along(cls, axis: int, affine: Matrix) -> Slicing:
        """Return the slicing along an anatomical axis of a volume with this affine."""
        from nibabel.orientations import io_orientation  # noqa: PLC0415 - an extra

        closest = io_orientation(np.asarray(affine))
        columns, rows = (other for other in range(3) if other != axis)
        stored = {int(anatomical): position for position, (anatomical, _) in enumerate(closest)}
        order = (stored[axis], stored[rows], stored[columns])
        backward = [bool(closest[position, 1] < 0) for position in order]
        # rows count from the top: against up, or against the front
        return cls(axis, order, (backward[0], not backward[1], backward[2]))

    @property
    def name(self) -> str:
        """sagittal, coronal or axial."""
        return next(name for name, axis in ANATOMICAL_AXES.items() if axis == self.axis)

    def shape_of(self, stored: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return slices, rows and columns of a volume with this stored shape."""
        slices, rows, columns = (stored[position] for position in self.order)
        return slices, rows, columns

    def view(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return slices x rows x columns of an array i x j x k; leading axes stay. Nothing is copied."""
        leading = stored.ndim - 3
        turned = stored.transpose(*range(leading), *(leading + position for position in self.order))
        return turned[(..., *self._steps())]

    def stored(self, view: NDArray[Any]) -> NDArray[Any]:
        """Undo `view`: i x j x k of an array slices x rows x columns. Nothing is copied."""
        back = tuple(self.order.index(position) for position in range(3))
        return view[self._steps()].transpose(back)

    def span(self, axis: int, first: int, stop: int, side: int) -> tuple[int, int]:
        """Convert a range on an axis of the view to one on the stored axis of ``side`` voxels, or back.

        >>> Slicing(2, (2, 1, 0), (True, True, False)).span(0, 1, 4, 10)
        (6, 9)
        """
        return (side - stop, side - first) if self.flipped[axis] else (first, stop)

    def affine_of(self, spec: VolumeSpec) -> NDArray[np.float64]:
        """Return 4 x 4: (slice, row, column, 1) to millimetres in RAS+."""
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for axis, (position, flipped) in enumerate(zip(self.order, self.flipped, strict=True)):
            turn[position, axis] = -1 if flipped else 1
            turn[position, 3] = spec.shape[position] - 1 if flipped else 0
        result: NDArray[np.float64] = np.asarray(spec.affine) @ turn
        return result

    def spacing_of(self, affine: Matrix) -> tuple[float, float, float]:
        """Return millimetres from one slice, row and column to the next."""
        lengths = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
        slices, rows, columns = (float(lengths[position]) for position in self.order)
        return slices, rows, columns

    def _steps(self) -> tuple[slice, slice, slice]:
        first, second, third = (slice(None, None, -1 if flipped else 1) for flipped in self.flipped)
        return first, second, third


def box_in_view(
    slicing: Slicing, shape: Sequence[int], origin: Sequence[int], box: Sequence[int]
) -> tuple[tuple[int, int], Window]:
    """Return the slices, first and after the last, and the window of each that a box of stored voxels covers.

    Parameters
    ----------
    slicing
        How the volume is cut.
    shape
        Stored voxels of the volume.
    origin, box
        First stored voxel of the box, and its voxels along the three axes.
    """
    spans = [
        slicing.span(axis, origin[position], origin[position] + box[position], shape[position])
        for axis, position in enumerate(slicing.order)
    ]
    slices, rows, columns = spans
    return slices, Window.from_edges(rows[0], columns[0], rows[1], columns[1])


def as_matrix(affine: NDArray[Any]) -> Matrix:
    """Return an array 4 x 4 as plain numbers."""
    return tuple(tuple(float(value) for value in row) for row in affine)
