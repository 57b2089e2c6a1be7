"""The preview of a volume: a montage of its slices, and the class map on the same slices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.pictures.display_colors import display_rgb
from segment_tiles.pipeline.outputs.pictures.preview import write_preview
from segment_tiles.pipeline.outputs.stores.store import array_of
from segment_tiles.pipeline.sources.volumes.slices import read_slices
from segment_tiles.pipeline.sources.volumes.voxel_copy import Voxels
from segment_tiles.workflows.scenes.scene import Scene
from segment_tiles.workflows.scenes.volumes.opening import VolumeScene

GRIDS: Final = ((4, 3), (3, 3), (2, 3), (2, 2), (1, 2), (1, 1))
"""Rows and columns of slices, the largest that the volume fills."""
CELL: Final = 300
"""Rows or columns of a slice in the montage, at most."""


@dataclass(frozen=True, slots=True)
class Montage:
    """Which slices are shown, and which of their pixels, nearest neighbours on a grid of square pixels."""

    slices: tuple[int, ...]
    grid: tuple[int, int]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    pixel: float
    """Millimetres of a pixel of the montage."""

    def of(self, chosen: NDArray[Any]) -> NDArray[Any]:
        """Lay slices (slice x row x column) side by side, from the top left in the order of their numbers."""
        down, across = self.grid
        cells = chosen[:, self.rows[:, None], self.columns]
        height, width = cells.shape[1:]
        laid: NDArray[Any] = cells.reshape(down, across, height, width).transpose(0, 2, 1, 3)
        return laid.reshape(down * height, across * width)


def write_volume_preview(
    path: Path,
    scene: Scene,
    volume: VolumeScene,
    voxels: Voxels,
    group: zarr.Group,
    report: Mapping[str, Any],
) -> None:
    """Draw up to twelve slices, evenly spread, beside the class map on them."""
    montage = _montage(volume)
    direction = volume.directions[0]
    first, _ = direction.slices
    rows, columns = direction.roi.slices()
    shown = np.stack([
        read_slices(voxels, volume.spec, direction.slicing, first + number, first + number + 1)[0, 0, rows, columns]
        for number in montage.slices
    ])  # fmt: skip
    array = array_of(group, "classes")
    classes = np.stack([np.asarray(array[number]) for number in montage.slices])
    name = direction.slicing.name
    counts = [*(entry["voxels"] for entry in report["classes"]), report["nodata"]["voxels"]]
    write_preview(
        display_rgb(montage.of(shown)[np.newaxis]),
        montage.of(classes),
        scene.classes,
        path,
        title=Path(shown_name(scene.uri)).name,
        subtitle=f"model {scene.manifest.name}, {name} slices {_numbers(montage.slices)} of {volume.shape[0]}; "
        "research use, not for diagnosis",
        pixel_width=montage.pixel,
        unit="millimeter",
        pixel_counts=counts,
    )


def _montage(volume: VolumeScene) -> Montage:
    count, height, width = volume.shape
    grid = next(grid for grid in GRIDS if math.prod(grid) <= count)
    shown = math.prod(grid)
    # the middle of each of as many equal parts
    slices = tuple((2 * position + 1) * count // (2 * shown) for position in range(shown))
    _, down, across = volume.directions[0].slicing.spacing_of(volume.spec.affine)
    pixel = max(min(down, across), height * down / CELL, width * across / CELL)
    cell_rows, cell_columns = (
        max(1, round(side * spacing / pixel)) for side, spacing in ((height, down), (width, across))
    )
    return Montage(
        slices,
        grid,
        np.arange(cell_rows) * height // cell_rows,
        np.arange(cell_columns) * width // cell_columns,
        pixel,
    )


def _numbers(slices: tuple[int, ...]) -> str:
    return ", ".join(str(number) for number in slices)
