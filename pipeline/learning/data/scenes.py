"""A labelled scene: values, validity and labels of any window, also of one that hangs over the edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.labels import LabelReader, open_labels
from segment_tiles.pipeline.learning.data.sheet import Sheet
from segment_tiles.pipeline.learning.data.slices import ProbabilityLabels, open_sheet
from segment_tiles.pipeline.learning.settings import (
    IGNORE_CODE,
    SceneSettings,
    SliceSettings,
    TrainingSettings,
)
from segment_tiles.pipeline.names import is_url
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source, notes_of
from segment_tiles.pipeline.sources.stacks.elements import located_source
from segment_tiles.pipeline.sources.stacks.resolve import OF_NO_STACK, resolved
from segment_tiles.pipeline.wording import counted

STRIP_ROWS = 256
"""Rows read at once when a whole scene is walked through."""


@dataclass(frozen=True, slots=True)
class LabelledWindow:
    """What training sees of a window."""

    values: NDArray[Any]
    """bands x rows x columns, native type."""
    valid: NDArray[np.bool_]
    """rows x columns; False: no data, or held out."""
    labels: NDArray[np.uint8]
    """rows x columns class codes; ``IGNORE_CODE`` if there is no label or it is held out."""


class LabelledScene:
    """A raster and its labels, opened for one process.

    Parameters
    ----------
    settings
        The scene in the configuration.
    data_folder
        Folder at which relative paths start.
    class_names
        Names of the classes in the order of their codes.

    Raises
    ------
    SourceError
        The raster cannot be opened.
    TrainingError
        The labels do not fit it.
    """

    def __init__(self, settings: SceneSettings, data_folder: Path, class_names: Sequence[str]) -> None:
        self.settings = settings
        self.source: Source
        self.labels: LabelReader
        self.held_out = tuple(Window(w.row, w.column, w.height, w.width) for w in settings.held_out)
        self.hidden = self.held_out
        """Windows that training does not see: those held out and what lies too close to them."""
        self._layout: Sheet | None = None
        if settings.slices is not None:
            self._open_slices(settings.slices, data_folder, class_names)
        else:
            self.source = open_source(
                raster_of(settings, data_folder), bands=settings.bands, nodata=settings.nodata
            )
            self.labels = open_labels(
                settings, resolve(settings.labels, data_folder), self.source.spec, class_names
            )
        for window in self.held_out:
            if not self.window.contains(window):
                msg = (
                    f"held_out window of scene {settings.name} reaches row {window.row_stop}, column "
                    f"{window.column_stop}; the scene has {self.window.height} rows and {self.window.width} columns"
                )
                raise TrainingError(msg)

    def _open_slices(self, slices: SliceSettings, data_folder: Path, class_names: Sequence[str]) -> None:
        self.source, layout = open_sheet(resolve(self.settings.raster, data_folder), slices)
        self._layout = layout
        volumes = {name: resolve(path, data_folder) for name, path in slices.label_probabilities.items()}
        assert self.settings.unlabelled is not None  # checked when the configuration was parsed
        self.labels = ProbabilityLabels(volumes, self.settings.unlabelled, slices, layout, class_names)
        if slices.held_out is not None:
            first, last = slices.held_out
            self.held_out = layout.windows_of(first, last)
            self.hidden = layout.windows_of(first - slices.guard, last + slices.guard)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about raster and labels before training on them."""
        of_source = tuple(f"scene {self.settings.name}: {note}" for note in notes_of(self.source))
        return (*of_source, *self.labels.notes)

    @property
    def window(self) -> Window:
        """The whole scene."""
        return self.source.spec.window

    def name_of(self, window: Window) -> str:
        """Return a name for a part of the scene: its slice, or its rows and columns."""
        if window == self.window:
            return self.settings.name
        number = None if self._layout is None else self._layout.number_at(window)
        if number is not None:
            return f"{self.settings.name} slice {number}"
        return (
            f"{self.settings.name} rows {window.row}-{window.row_stop} "
            f"columns {window.column}-{window.column_stop}"
        )

    def read(self, window: Window, *, with_held_out: bool) -> LabelledWindow:
        """Return a window at any position and of any size.

        Pixels beyond the edge are reflected and have no label::

            window  +-------+
                    | refl. |  label 255
                    |  +----+------
                    |  |    | scene
                    +--+----+

        Pixels that are held out become invalid and lose their label unless ``with_held_out``.
        """
        inside = window.intersect(self.window)
        if inside.is_empty:
            msg = f"window {window} lies outside the scene {self.settings.name}"
            raise TrainingError(msg)
        values = self.source.read(inside)
        mask = self.source.valid(inside, values)
        valid = np.ones(inside.shape, dtype=bool) if mask is None else mask.copy()
        labels = self.labels.read(inside)
        if not with_held_out:
            for box in self.hidden:
                valid[box.intersect(inside).relative_to(inside).slices()] = False
        labels = np.where(valid, labels, IGNORE_CODE).astype(np.uint8)
        return _padded(LabelledWindow(values, valid, labels), inside, window)

    def training_strips(self) -> Iterator[tuple[Window, LabelledWindow]]:
        """Yield the scene in strips, as training may see it."""
        for row in range(0, self.window.height, STRIP_ROWS):
            strip = Window(row, 0, min(STRIP_ROWS, self.window.height - row), self.window.width)
            yield strip, self.read(strip, with_held_out=False)

    def close(self) -> None:
        """Close both files."""
        self.source.close()
        self.labels.close()


def _padded(labelled: LabelledWindow, inside: Window, wanted: Window) -> LabelledWindow:
    """Reflect beyond the edges of the scene; labels there are ignored."""
    if inside == wanted:
        return labelled
    box = inside.relative_to(wanted)
    edges = (
        (box.row, wanted.height - box.row_stop),
        (box.column, wanted.width - box.column_stop),
    )
    return LabelledWindow(
        np.pad(labelled.values, ((0, 0), *edges), mode="symmetric"),
        np.pad(labelled.valid, edges, mode="symmetric"),
        np.pad(labelled.labels, edges, constant_values=IGNORE_CODE),
    )


def resolve(path: str, data_folder: Path) -> str:
    """Return a path of the configuration, relative to the data folder; URLs and absolute paths as they are."""
    if is_url(path) or Path(path).is_absolute():
        return path
    return str(data_folder / path)


def raster_of(settings: SceneSettings, data_folder: Path) -> str:
    """Return the name of the raster of a scene; of files by commas, a stack file or a STAC item that of their stack.

    Raises
    ------
    SourceError, UsageError
        If a stack file or an item cannot be read.
    """
    return resolved(located_source(settings.raster, data_folder), OF_NO_STACK)


def open_scenes(settings: TrainingSettings, data_folder: Path) -> list[LabelledScene]:
    """Open every scene and check that all have the same bands and type.

    Raises
    ------
    TrainingError
        The scenes differ in the number of bands or their type.
    """
    names = [c.name for c in settings.classes]
    scenes = [LabelledScene(scene, data_folder, names) for scene in settings.scenes]
    first = scenes[0].source.spec
    for scene in scenes[1:]:
        spec = scene.source.spec
        if (spec.bands, spec.dtype) != (first.bands, first.dtype):
            msg = (
                f"scene {scene.settings.name} has {counted(spec.bands, 'band')} of {spec.dtype}, "
                f"{scenes[0].settings.name} has {first.bands} of {first.dtype}: all must be alike"
            )
            raise TrainingError(msg)
    return scenes
