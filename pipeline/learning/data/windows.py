"""Training windows straight from the files, as a torch data set whose items depend on their number alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segment_tiles.pipeline.learning.augmentation.changes import (
    Placement,
    RadiometricAugmentation,
    cut_weights,
    cut_window,
    draw_placement,
)
from segment_tiles.pipeline.learning.augmentation.recoloring import ClassRecoloring
from segment_tiles.pipeline.learning.augmentation.stain import StainJitter
from segment_tiles.pipeline.learning.data.sampling import Sample, WindowSampler
from segment_tiles.pipeline.learning.data.scenes import LabelledScene
from segment_tiles.pipeline.learning.data.survey import Survey
from segment_tiles.pipeline.learning.data.wanted import Shelf, WantedScene
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.sources.validity import not_finite


class TrainingWindows(Dataset[tuple[Tensor, ...]]):
    """Item n is the n-th window of the run: position, zoom and light are drawn from (seed, n).

    So an interrupted run resumes exactly, and any number of loader processes or ranks gives
    the same windows. Files are opened by each process for itself, at its first item.
    """

    def __init__(self, settings: TrainingSettings, data_folder: Path, survey: Survey) -> None:
        self._settings, self._data_folder = settings, data_folder
        self._scene_settings = tuple(s for s in settings.scenes if s.use == "train")
        self.pixels = survey.pixels
        """Labelled pixels of each class in all training scenes."""
        self._mean = np.asarray(survey.statistics.mean, dtype=np.float32)[:, None, None]
        self._std = np.asarray(survey.statistics.std, dtype=np.float32)[:, None, None]
        self._sampler = WindowSampler(
            survey, tuple(s.weight for s in self._scene_settings), settings.class_balance
        )
        self._radiometric = RadiometricAugmentation(settings.augmentation)
        names = tuple(c.name for c in settings.classes)
        self._recoloring = ClassRecoloring(settings.augmentation.recolor, names, self._mean, self._std)
        self._stain: StainJitter | None = None
        if settings.augmentation.stain.probability > 0:
            self._stain = StainJitter(settings.augmentation.stain, self._mean, self._std, survey.white)
        self._wanted = WantedScene.of(settings, repeats_grey=len(self._mean) == 3)
        self._shelf = Shelf()
        self._open: dict[int, LabelledScene] = {}

    def __len__(self) -> int:
        """Return how many windows the run could ever ask for in one process."""
        return self._settings.steps * self._settings.batch

    def __getstate__(self) -> dict[str, Any]:
        """Leave out open files when a loader process is started."""
        return self.__dict__ | {"_open": {}, "_shelf": Shelf()}

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """Return normalised values (bands x side x side float32), labels (side x side int64), and on request weights.

        Weights (side x side float32) are what pixels between near objects count more.
        """
        sample, placement, random = self._drawn(index)
        image, labels, *weights = self._cut(sample, placement)
        image = self._recoloring(image, labels, random)
        if self._stain is not None:
            image = self._stain(image, random)
        return self._radiometric(image, random), labels, *weights

    def _cut(self, sample: Sample, placement: Placement) -> tuple[Tensor, ...]:
        """Return normalised values, labels and weights of a window as it lies on its scene."""
        scene, side = self._scene(sample.scene), self._settings.window
        footprint = placement.footprint(sample.row, sample.column, side)
        with_weights = self._settings.neighbour_weight is not None
        labelled = scene.read(footprint, with_held_out=False, with_weights=with_weights)
        values = (labelled.values.astype(np.float32) - self._mean) / self._std
        # what the engine does with pixels without data: the mean of the band
        values = np.where(labelled.valid & ~not_finite(labelled.values), values, np.float32(0))
        image, labels = cut_window(
            torch.from_numpy(values), torch.from_numpy(labelled.labels), placement, side
        )
        if labelled.weights is None:
            return image, labels
        return image, labels, cut_weights(torch.from_numpy(labelled.weights), placement, side)

    def describe(self, index: int) -> str:
        """Return the position of the n-th window as text for people."""
        sample, placement, _ = self._drawn(index)
        box = placement.footprint(sample.row, sample.column, self._settings.window)
        return (
            f"scene {self._scene_settings[sample.scene].name}, rows {box.row} to {box.row_stop}, "
            f"columns {box.column} to {box.column_stop}"
        )

    def _drawn(self, index: int) -> tuple[Sample, Placement, np.random.Generator]:
        random = np.random.default_rng((self._settings.seed, index))
        return self._sampler.draw(random), draw_placement(self._settings.augmentation, random), random

    def _scene(self, index: int) -> LabelledScene:
        if index not in self._open:
            names = [c.name for c in self._settings.classes]
            scene = self._scene_settings[index]
            self._open[index] = LabelledScene(scene, self._data_folder, names, self._wanted, self._shelf)
        return self._open[index]
