"""Which learning rate suits a training: a short search, of which nothing is kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.learning.augmentation.stain import check_stain
from segment_tiles.pipeline.learning.data.opening import open_scenes
from segment_tiles.pipeline.learning.data.survey import survey_scenes
from segment_tiles.pipeline.learning.data.windows import TrainingWindows
from segment_tiles.pipeline.learning.folders.expansion import with_pictures_as_scenes
from segment_tiles.pipeline.learning.training.package import trained_manifest
from segment_tiles.pipeline.learning.training.rate_finder import find_rate
from segment_tiles.pipeline.models.devices import resolve_device
from segment_tiles.workflows.options.training import RateConfig
from segment_tiles.workflows.sizes_check import check_training
from segment_tiles.workflows.training.config import read_training_config
from segment_tiles.workflows.training.start import first_network, reproducible


def learning_rate_as_asked(config: RateConfig) -> Mapping[str, Any]:
    """Search the learning rate of a training and return it with what was tried.

    Raises
    ------
    PlanError
        A batch does not fit the memory.
    MissingExtraError
        Other stains are asked for without scikit-image.
    TrainingError
        The configuration or the labels cannot be used.
    TrainingFailedError
        The loss never fell.
    """
    data_folder: Path = config.data or config.config.parent
    settings = read_training_config(config.config)
    check_stain(settings.augmentation.stain)
    settings, _ = with_pictures_as_scenes(settings, data_folder)
    check_training(settings.batch, settings.window, settings.tile or settings.window)
    device = resolve_device(config.device)
    with reproducible(settings, device), ExitStack() as stack:
        scenes = [stack.enter_context(closing(scene)) for scene in open_scenes(settings, data_folder)]
        trained_on = [scene for scene in scenes if scene.settings.use == "train"]
        survey = survey_scenes(trained_on, len(settings.classes))
        network = first_network(
            settings, trained_manifest(settings, scenes[0], survey.statistics, {}), data_folder
        )
        windows = TrainingWindows(settings, data_folder, survey)
        search = find_rate(settings, network, windows, config.steps, device)
    return {
        "learning_rate": search.suggested,
        "in_the_configuration": settings.optimizer.learning_rate,
        "tried": [
            {"learning_rate": float(f"{rate:.4g}"), "loss": round(loss, 6)}
            for rate, loss in zip(search.rates, search.losses, strict=True)
        ],
    }
