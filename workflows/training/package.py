"""The model package of a training: scored, written, and usable from the first score on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from segment_tiles.pipeline.learning.data.survey import Survey
from segment_tiles.pipeline.learning.pictures import save_curve, save_samples
from segment_tiles.pipeline.learning.scores.confusion import ConfusionMatrix
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.learning.training.logs import TrainingLog
from segment_tiles.pipeline.learning.training.loop import Training
from segment_tiles.pipeline.learning.training.package import trained_manifest
from segment_tiles.pipeline.learning.training.validation import ValidationArea, score_area, worth_showing
from segment_tiles.pipeline.models.package import load_manifest, load_network, save_model_package
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.names import document_without_secrets
from segment_tiles.workflows.training.final_scores import FinalScores, final_scores
from segment_tiles.workflows.training.page import save_page

log = logging.getLogger(__name__)

MODEL_FOLDER = "model"


class TrainingProgress(Protocol):
    """Who wants to know how a training goes."""

    def started(self, name: str, first_step: int, steps: int) -> None:
        """A training begins, or goes on, at a step."""

    def stepped(self, row: Mapping[str, float]) -> None:
        """A step is done: step, loss, learning_rate, gradient_norm."""

    def scored(self, row: Mapping[str, float]) -> None:
        """The network was scored: step, mean_iou and more."""

    def noted(self, text: str) -> None:
        """Something was repaired or left out."""


class SilentProgress:
    """Tells nobody: of several processes the first one speaks."""

    def started(self, name: str, first_step: int, steps: int) -> None:
        """Say nothing."""

    def stepped(self, row: Mapping[str, float]) -> None:
        """Say nothing."""

    def scored(self, row: Mapping[str, float]) -> None:
        """Say nothing."""

    def noted(self, text: str) -> None:
        """Say nothing."""


class Packager:
    """Scores networks on the held-out areas and writes them as a model package."""

    def __init__(
        self,
        settings: TrainingSettings,
        areas: Sequence[ValidationArea],
        survey: Survey,
        out: Path,
        device: torch.device,
    ) -> None:
        self._settings, self._areas, self._survey = settings, areas, survey
        self._out, self._device = out, device
        self.folder = out / MODEL_FOLDER
        self.manifest = self._manifest({})

    def score(self, network: nn.Module) -> dict[str, float]:
        """Return mean IoU and the IoU of each class over all held-out areas together."""
        total = ConfusionMatrix(len(self._settings.classes))
        segmenter = Segmenter(network, self.manifest, self._device)
        for area in self._areas:
            total.merge(score_area(area, segmenter))
        ious = {f"iou {c.name}": total.of_class(c.code).iou for c in self.manifest.classes.classes}
        return {"mean_iou": total.mean_iou} | ious

    def save(self, weights: Mapping[str, Tensor], extra: Mapping[str, Any]) -> None:
        """Write the package; it is complete at every moment."""
        save_model_package(self.folder, self._manifest(extra), weights, half=True)

    def finish(
        self, weights: Mapping[str, Tensor], training: Training, require_same: Callable[[], None]
    ) -> FinalScores:
        """Write the package with the scores of the weights as they were saved, and the pictures.

        ``require_same`` is asked before the scores are written, and refuses areas that have changed.
        """
        self.save(weights, {})
        manifest = load_manifest(self.folder)
        segmenter = Segmenter(load_network(self.folder, manifest), manifest, self._device)
        found = final_scores(self._areas, segmenter)
        require_same()
        self.save(weights, self.extra(training.step, found.told))
        save_curve(self._out / "curve.png", training.history)
        shown = worth_showing(self._areas, max(area.pixels for area in self._areas))
        save_samples(self._out / "samples.png", shown, segmenter)
        save_page(self._out, self._settings.name, training.history, found, segmenter)
        return found

    def extra(self, step: int, scores: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the manifest says of data, labels, scores and limits."""
        settings = self._settings
        return {
            "data": settings.data_notice,
            "label_rule": settings.label_rule,
            "limits": list(settings.limits),
            "scores": {"held out": dict(scores)},
            "training": {
                "steps": step,
                "labelled_pixels": dict(zip(self.manifest.classes.names, self._survey.pixels, strict=True)),
                "recipe": document_without_secrets(_recipe(settings)),
            },
        }

    def _manifest(self, extra: Mapping[str, Any]) -> ModelManifest:
        scene = self._areas[0].scene
        return trained_manifest(self._settings, scene, self._survey.statistics, extra)


class PackagingObserver:
    """Logs rows, tells the user, and keeps the package of a running training usable."""

    def __init__(self, packager: Packager, progress: TrainingProgress) -> None:
        self._packager, self._progress = packager, progress
        self.log: TrainingLog | None = None

    def stepped(self, row: dict[str, float]) -> None:
        """Log a step."""
        if self.log is not None:
            self.log.write(row)
            log.debug("step %d: %s", int(row["step"]), row)
            self._progress.stepped(row)

    def scored(self, row: dict[str, float], kept: dict[str, Tensor]) -> None:
        """Log the scores and write the package as it is now."""
        if self.log is not None:
            self.log.write(row)
        rounded = {
            name: None if math.isnan(value) else round(value, 4)
            for name, value in row.items()
            if name != "step"
        }
        log.info("step %d is scored: %s", int(row["step"]), rounded, extra={"step": int(row["step"])})
        self._packager.save(kept, self._packager.extra(int(row["step"]), {"while training": rounded}))
        self._progress.scored(row)


def _recipe(settings: TrainingSettings) -> dict[str, Any]:
    """Return the settings as they were written: folders of pictures, not a scene for each picture."""
    written = tuple(scene for scene in settings.scenes if not scene.folder)
    asked = settings.model_copy(update={"scenes": written})
    return asked.model_dump(mode="json", exclude_defaults=True)


def add_left_out_scores(folder: Path, left_out: Mapping[str, Any], spread: Mapping[str, Any]) -> None:
    """Write the package again with the scores of scenes that were left out in turn, and mean and spread."""
    manifest = load_manifest(folder)
    scores = dict(manifest.extra["scores"])
    if left_out:
        scores["scene left out of training"] = dict(left_out)
    if spread:
        scores["mean and spread"] = dict(spread)
    extra = dict(manifest.extra) | {"scores": scores}
    weights = load_network(folder, manifest).state_dict()
    save_model_package(folder, replace(manifest, extra=extra), weights, half=True)
