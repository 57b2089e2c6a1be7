"""Slices of a medical volume as one scene: a sheet on which they lie below each other, and their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError, TrainingError, one_line
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.volume import ANATOMICAL_AXES, Slicing
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.sheet import Sheet
from segment_tiles.pipeline.learning.scene_settings import SliceSettings
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.sources.array import ArraySource
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.volume import read_volume, read_volume_spec


def open_sheet(path: str, settings: SliceSettings) -> tuple[ArraySource, Sheet]:
    """Open a volume as a sheet of its slices, one band, oriented as people look at them.

    Raises
    ------
    TrainingError
        The file is no volume, or has no such slices.
    MissingExtraError
        nibabel is not installed.
    """
    slices, spacing = read_slices(path, settings.axis)
    layout = _sheet_of(slices, settings, path)
    sheet, valid = _laid_out(slices, layout)
    georef = GeoRef((spacing, 0.0, 0.0, 0.0, spacing, 0.0), None, "millimeter")
    return ArraySource(sheet[None], valid=valid, georef=georef), layout


def read_slices(path: str, axis: str) -> tuple[NDArray[Any], float]:
    """Return slices x rows x columns of a volume, as people look at them, and the width of a voxel in mm.

    Raises
    ------
    TrainingError
        The file is no volume.
    MissingExtraError
        The library that reads it is not installed.
    """
    try:
        spec = read_volume_spec(path, Selection())
        values = read_volume(path, Selection())[0]
    except SourceError as error:
        msg = f"{path} cannot be read as a volume: {one_line(error)}"
        raise TrainingError(msg) from error
    slicing = Slicing.along(ANATOMICAL_AXES[axis], spec.affine)
    return slicing.view(values), slicing.spacing_of(spec.affine)[2]


def _sheet_of(slices: NDArray[Any], settings: SliceSettings, path: str) -> Sheet:
    count, rows, columns = slices.shape
    last = count - 1 if settings.last is None else settings.last
    if not settings.first <= last < count:
        msg = (
            f"slices {settings.first} to {last} are wanted of {path}; it has 0 to {count - 1} {settings.axis}"
        )
        raise TrainingError(msg)
    return Sheet(tuple(range(settings.first, last + 1, settings.step)), rows, columns, settings.gap)


def _laid_out(slices: NDArray[Any], layout: Sheet) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the sheet and which of its pixels belong to a slice."""
    sheet = np.zeros((layout.height, layout.columns), dtype=slices.dtype)
    valid = np.zeros(sheet.shape, dtype=bool)
    for number in layout.numbers:
        (window,) = layout.windows_of(number, number)
        sheet[window.slices()] = slices[number]
        valid[window.slices()] = True
    return sheet, valid


class ProbabilityLabels:
    """Class codes from volumes of class probability: the class of the highest; what is left of one is a class too.

    Parameters
    ----------
    volumes
        Class name -> path of its probability volume, 0 to ``full``.
    remainder
        Class whose probability is what is left of ``full``.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        volumes: Mapping[str, str],
        remainder: str,
        settings: SliceSettings,
        layout: Sheet,
        class_names: Sequence[str],
    ) -> None:
        shares = []
        valid = np.zeros((layout.height, layout.columns), dtype=bool)
        for path in volumes.values():
            slices, _ = read_slices(path, settings.axis)
            if _sheet_of(slices, settings, path) != layout:
                msg = f"{path} has slices of {slices.shape[1:]}; they must be those of the volume it labels"
                raise TrainingError(msg)
            sheet, valid = _laid_out(slices, layout)
            shares.append(sheet.astype(np.float32) / settings.full)
        rest = 1 - np.sum(shares, axis=0)
        codes = np.array([class_names.index(name) for name in (*volumes, remainder)], dtype=np.uint8)
        self._codes: NDArray[np.uint8] = codes[np.argmax([*shares, rest], axis=0)]
        self._codes[~valid] = IGNORE_CODE

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return class codes, rows x columns."""
        return self._codes[window.slices()]

    def close(self) -> None:
        """Do nothing: no file stays open."""
