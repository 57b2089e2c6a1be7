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
from segment_tiles.pipeline.learning.data.instances import BorderedLabels, ResampledLabels, with_borders
from segment_tiles.pipeline.learning.data.labels import LabelReader, open_labels
from segment_tiles.pipeline.learning.data.scene_scaling import measured_in, scaled_values
from segment_tiles.pipeline.learning.data.sheet import Sheet
from segment_tiles.pipeline.learning.data.slices import ProbabilityLabels, open_sheet
from segment_tiles.pipeline.learning.data.wanted import ANY_SCENE, Shelf, WantedScene
from segment_tiles.pipeline.learning.scene_settings import SceneSettings, SliceSettings
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.names import is_url
from segment_tiles.pipeline.sources.of_bands import missing_of
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source, notes_of
from segment_tiles.pipeline.sources.stacks.elements import located_source
from segment_tiles.pipeline.sources.stacks.resolve import OF_NO_STACK, resolved

STRIP_ROWS = 256
"""Rows read at once when a whole scene is walked through."""


@dataclass(frozen=True, slots=True)
class LabelledWindow:
    """What training sees of a window."""

    values: NDArray[Any]
    """bands x rows x columns, native type, or float32 if the training scales by scene."""
    valid: NDArray[np.bool_]
    """rows x columns; False: no data, or held out."""
    labels: NDArray[np.uint8]
    """rows x columns class codes; ``IGNORE_CODE`` if there is no label or it is held out."""
    weights: NDArray[np.float32] | None = None
    """rows x columns: what a pixel between near objects counts more; None: not asked for."""


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
    wanted
        What the model asks of every scene.
    shelf
        Closes this scene while others are in use, if there are many; it is opened again when it is read.

    Raises
    ------
    SourceError
        The raster cannot be opened.
    TrainingError
        The labels do not fit it.
    """

    def __init__(
        self,
        settings: SceneSettings,
        data_folder: Path,
        class_names: Sequence[str],
        wanted: WantedScene = ANY_SCENE,
        shelf: Shelf | None = None,
    ) -> None:
        self.settings = settings
        self._data_folder, self._names, self._wanted = data_folder, tuple(class_names), wanted
        self._shelf = shelf if settings.folder else None
        self._source: Source | None = None
        self._labels: LabelReader | None = None
        self.held_out = tuple(Window(w.row, w.column, w.height, w.width) for w in settings.held_out)
        self.hidden = self.held_out
        """Windows that training does not see: those held out and what lies too close to them."""
        self._layout: Sheet | None = None
        self._measured: dict[Scaling, Scaling] = {}
        if settings.slices is not None:
            self._open_slices(settings.slices)
        else:
            self._open()
        self.spec = self.source.spec
        """Of the raster as the model sees it."""
        for window in self.held_out:
            if not self.window.contains(window):
                msg = (
                    f"held_out window of scene {settings.name} reaches row {window.row_stop}, column "
                    f"{window.column_stop}; the scene has {self.window.height} rows and {self.window.width} columns"
                )
                raise TrainingError(msg)

    @property
    def source(self) -> Source:
        """The raster, opened again if it was closed meanwhile."""
        if self._source is None:
            self._open()
        assert self._source is not None
        self._on_shelf()
        return self._source

    @property
    def labels(self) -> LabelReader:
        """The labels, opened again if they were closed meanwhile."""
        if self._labels is None:
            self._open()
        assert self._labels is not None
        self._on_shelf()
        return self._labels

    def _on_shelf(self) -> None:
        if self._shelf is not None:
            self._shelf.used(self)

    def _open(self) -> None:
        settings = self.settings
        raster, path = raster_of(settings, self._data_folder), resolve(settings.labels, self._data_folder)
        source = open_source(raster, bands=settings.bands, nodata=settings.nodata)
        if self._wanted.repeats_grey and source.spec.bands == 1:
            source.close()
            only = settings.bands or (1,)
            source = open_source(raster, bands=only * 3, nodata=settings.nodata)
        labels = open_labels(settings, path, source.spec, self._names)
        view = self._wanted.view_of(settings)
        if view is not None:
            native = source.spec
            source.close()
            bands = native.band_numbers or None
            source = open_source(raster, bands=bands, nodata=settings.nodata, view=view)
            labels = ResampledLabels(labels, native.window, source.spec.downsample or (1.0, 1.0))
        if self._wanted.borders is not None:
            objects = (self._wanted.borders, self._wanted.weight)
            labels = with_borders(labels, settings.name, source.spec.window, *objects, self._names)
        self._source, self._labels = source, labels

    def _open_slices(self, slices: SliceSettings) -> None:
        self._source, layout = open_sheet(resolve(self.settings.raster, self._data_folder), slices)
        self._layout = layout
        volumes = {
            name: resolve(path, self._data_folder) for name, path in slices.label_probabilities.items()
        }
        assert self.settings.unlabelled is not None  # checked when the configuration was parsed
        self._labels = ProbabilityLabels(volumes, self.settings.unlabelled, slices, layout, self._names)
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
    def is_grey_told_thrice(self) -> bool:
        """Whether a raster of one band is told as three equal ones."""
        return self._wanted.repeats_grey and len(set(self.spec.band_numbers)) == 1

    @property
    def window(self) -> Window:
        """The whole scene."""
        return self.spec.window

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

    def read(self, window: Window, *, with_held_out: bool, with_weights: bool = False) -> LabelledWindow:
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
        missing = missing_of(self.source, inside, values)
        if missing is not None:  # a pixel that lacks one band is none to learn from
            valid &= ~missing.any(axis=0)
        if self._wanted.scaling is not None:
            values = scaled_values(self.measured(self._wanted.scaling), values, valid)
        labels = self.labels.read(inside)
        if not with_held_out:
            for box in self.hidden:
                valid[box.intersect(inside).relative_to(inside).slices()] = False
        labels = np.where(valid, labels, IGNORE_CODE).astype(np.uint8)
        weights = None
        if with_weights and isinstance(self.labels, BorderedLabels):
            weights = self.labels.read_weights(inside)
        return _padded(LabelledWindow(values, valid, labels, weights), inside, window)

    @property
    def is_scaled(self) -> bool:
        """Whether values are scaled by the numbers of the scene before all else."""
        return self._wanted.scaling is not None

    def measured(self, scaling: Scaling) -> Scaling:
        """Return a scaling with the numbers of this scene; they are measured once."""
        if scaling not in self._measured:
            self._measured[scaling] = measured_in(self.source, scaling, self.settings.name)
        return self._measured[scaling]

    def strips(self) -> Iterator[Window]:
        """Yield windows as wide as the scene, from top to bottom."""
        for row in range(0, self.window.height, STRIP_ROWS):
            yield Window(row, 0, min(STRIP_ROWS, self.window.height - row), self.window.width)

    def training_strips(self) -> Iterator[tuple[Window, LabelledWindow]]:
        """Yield the scene in strips, as training may see it."""
        for strip in self.strips():
            yield strip, self.read(strip, with_held_out=False)

    def close(self) -> None:
        """Close both files."""
        if self._source is not None:
            self._source.close()
        if self._labels is not None:
            self._labels.close()
        self._source = self._labels = None


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
        None if labelled.weights is None else np.pad(labelled.weights, edges),
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
