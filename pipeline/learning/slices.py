"""Slices of a medical volume as one scene: a sheet on which they lie below each other.

::

    +-----------+
    | slice 40  |  a gap of pixels without data keeps a training window
    +- - - - - -+  from seeing two slices next to each other
    | (gap)     |
    +-----------+
    | slice 42  |
    +-----------+
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import MissingExtraError, TrainingError, one_line
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.settings import IGNORE_CODE, SliceSettings
from segment_tiles.pipeline.sources.array import ArraySource

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Axis of a volume in RAS+ order, along which slices are cut."""


@dataclass(frozen=True, slots=True)
class SheetLayout:
    """Where the slices of a volume lie on their sheet."""

    numbers: tuple[int, ...]
    """Slice numbers along the axis, from top to bottom."""
    rows: int
    """Rows of a slice."""
    columns: int
    """Columns of a slice."""
    gap: int
    """Rows without data between two slices."""

    @property
    def height(self) -> int:
        """Rows of the sheet."""
        return len(self.numbers) * (self.rows + self.gap) - self.gap

    def windows_of(self, first: int, last: int) -> tuple[Window, ...]:
        """Return the boxes of the slices with these numbers, both included."""
        step = self.rows + self.gap
        return tuple(
            Window(place * step, 0, self.rows, self.columns)
            for place, number in enumerate(self.numbers)
            if first <= number <= last
        )


def open_sheet(path: str, settings: SliceSettings) -> tuple[ArraySource, SheetLayout]:
    """Open a volume as a sheet of its slices, one band, oriented as people look at them.

    Raises
    ------
    TrainingError
        The file is no volume, or has no such slices.
    MissingExtraError
        nibabel is not installed.
    """
    values, spacing = read_volume(path)
    layout = _layout(values, settings, path)
    sheet, valid = _laid_out(values, settings, layout)
    georef = GeoRef((spacing, 0.0, 0.0, 0.0, spacing, 0.0), None, "millimeter")
    return ArraySource(sheet[None], valid=valid, georef=georef), layout


def read_volume(path: str) -> tuple[NDArray[Any], float]:
    """Return the values of a volume in RAS+ order, in their stored scale, and its spacing in mm."""
    if importlib.util.find_spec("nibabel") is None:
        msg = (
            f"{path} is a volume; install the extra medical to read it: pip install 'segment-tiles[medical]'"
        )
        raise MissingExtraError(msg)
    import nibabel  # noqa: PLC0415 - an extra

    try:
        volume = nibabel.as_closest_canonical(nibabel.load(path))
        values = np.asanyarray(volume.dataobj)
    except (OSError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        msg = f"{path} cannot be read as a volume: {one_line(error)}"
        raise TrainingError(msg) from error
    if values.ndim != 3:
        msg = f"{path} has {values.ndim} dimensions; a volume of three is needed"
        raise TrainingError(msg)
    return values, float(volume.header.get_zooms()[0])


def _layout(values: NDArray[Any], settings: SliceSettings, path: str) -> SheetLayout:
    axis = AXES[settings.axis]
    count = values.shape[axis]
    last = count - 1 if settings.last is None else settings.last
    if not settings.first <= last < count:
        msg = (
            f"slices {settings.first} to {last} are wanted of {path}; it has 0 to {count - 1} {settings.axis}"
        )
        raise TrainingError(msg)
    rows, columns = (size for number, size in reversed(list(enumerate(values.shape))) if number != axis)
    return SheetLayout(tuple(range(settings.first, last + 1, settings.step)), rows, columns, settings.gap)


def _laid_out(
    values: NDArray[Any], settings: SliceSettings, layout: SheetLayout
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the sheet and which of its pixels belong to a slice."""
    sheet = np.zeros((layout.height, layout.columns), dtype=values.dtype)
    valid = np.zeros(sheet.shape, dtype=bool)
    for number in layout.numbers:
        (window,) = layout.windows_of(number, number)
        # RAS+: the second axis grows upward on the page, so it is turned over
        sheet[window.slices()] = values.take(number, axis=AXES[settings.axis]).T[::-1]
        valid[window.slices()] = True
    return sheet, valid


class ProbabilityLabels:
    """Class codes from volumes of class probability: the class of the highest, the rest to one class.

    Parameters
    ----------
    volumes
        Class name -> path of its probability volume, 0 to ``full``.
    remainder
        Class that has what is left of ``full``.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        volumes: Mapping[str, str],
        remainder: str,
        settings: SliceSettings,
        layout: SheetLayout,
        class_names: Sequence[str],
    ) -> None:
        shares = []
        valid = np.zeros((layout.height, layout.columns), dtype=bool)
        for path in volumes.values():
            values, _ = read_volume(path)
            if _layout(values, settings, path) != layout:
                msg = f"{path} has the shape {values.shape}; it must be that of the volume it labels"
                raise TrainingError(msg)
            sheet, valid = _laid_out(values, settings, layout)
            shares.append(sheet.astype(np.float32) / settings.full)
        rest = 1 - np.sum(shares, axis=0)
        codes = np.array([class_names.index(name) for name in (*volumes, remainder)], dtype=np.uint8)
        self._codes: NDArray[np.uint8] = codes[np.argmax([*shares, rest], axis=0)]
        self._codes[~valid] = IGNORE_CODE

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return class codes, rows x columns."""
        return self._codes[window.slices()]

    def close(self) -> None:
        """Nothing stays open."""
