"""Train: a configuration in, a model package with its scores, logs and pictures out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from segment_tiles.pipeline.durable import make_folder, remove_leftovers
from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.learning.augmentation.stain import check_stain
from segment_tiles.pipeline.learning.data.opening import open_scenes
from segment_tiles.pipeline.learning.data.scenes import LabelledScene
from segment_tiles.pipeline.learning.data.survey import survey_scenes
from segment_tiles.pipeline.learning.data.windows import TrainingWindows
from segment_tiles.pipeline.learning.folders.expansion import with_pictures_as_scenes
from segment_tiles.pipeline.learning.processes import TrainingProcess, training_process
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.learning.training.logs import TrainingLog
from segment_tiles.pipeline.learning.training.loop import Training
from segment_tiles.pipeline.learning.training.validation import ValidationArea, validation_areas
from segment_tiles.pipeline.models.devices import resolve_device
from segment_tiles.workflows.options.training import TrainConfig
from segment_tiles.workflows.sizes_check import check_training
from segment_tiles.workflows.training.config import read_training_config, with_pretrained_backbone
from segment_tiles.workflows.training.folder import (
    REPORT_FILE,
    check_folder,
    forget_training,
    held_for_training,
    left_out_folder,
    seed_folder,
)
from segment_tiles.workflows.training.learning_sources import KnownSources, sources_of_training
from segment_tiles.workflows.training.notes import (
    notes_on,
    notes_on_large_areas,
    notes_on_objects,
    notes_on_unlabelled_classes,
)
from segment_tiles.workflows.training.package import (
    Packager,
    PackagingObserver,
    SilentProgress,
    TrainingProgress,
    add_left_out_scores,
)
from segment_tiles.workflows.training.report import TrainingReport, overall, write_report
from segment_tiles.workflows.training.start import (
    fingerprint,
    first_network,
    parts_of,
    reproducible,
    without_scene,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Session:
    """What a training works with; the same for those that leave a scene out."""

    data_folder: Path
    progress: TrainingProgress
    device: torch.device
    process: TrainingProcess
    sources: KnownSources


def train_as_asked(config: TrainConfig, progress: TrainingProgress) -> TrainingReport:
    """Train as options and a configuration file ask.

    Raises
    ------
    SegmentTilesError
        As `train`, and if the file says something that cannot be done.
    """
    settings = read_training_config(config.config)
    if config.pretrained:
        settings = with_pretrained_backbone(settings)
    return train(
        settings,
        config.data or config.config.parent,
        config.out,
        progress,
        device_name=config.device,
        resume=config.resume,
        restart=config.restart,
        leave_out=config.leave_out,
        each_scene_left_out=config.each_scene_left_out,
        seeds=config.seeds,
    )


def train(
    settings: TrainingSettings,
    data_folder: Path,
    out: Path,
    progress: TrainingProgress,
    *,
    device_name: str = "auto",
    resume: bool = False,
    restart: bool = False,
    leave_out: str | None = None,
    each_scene_left_out: bool = False,
    seeds: int = 1,
) -> TrainingReport:
    """Train one model, and on request one more for each scene without it.

    Parameters
    ----------
    settings
        The configuration, parsed.
    data_folder
        Where its relative paths start.
    out
        Folder of the results; made if absent.
    device_name
        auto, cpu, cuda or cuda:N.
    resume
        Go on from the checkpoint in ``out``.
    restart
        Begin anew if ``out`` has one.
    leave_out
        Scene to leave out of the training and to score instead.
    each_scene_left_out
        Afterwards train again without each scene in turn, and put its scores into the package.
    seeds
        How often to train, from ``seed`` and the numbers after it; the package is that of the first.

    Raises
    ------
    PlanError
        A batch does not fit the memory.
    MissingExtraError
        Other stains are asked for without scikit-image.
    TrainingError
        Labels do not fit, nothing is held out, ``out`` holds another training, or the loss is no number.
    SourceChangedError
        A raster or labels have changed meanwhile: no checkpoint, package or report is written of two versions.
    """
    check_stain(settings.augmentation.stain)
    settings, notes = with_pictures_as_scenes(settings, data_folder)
    for note in notes:
        progress.noted(note)
    if leave_out is not None:
        settings = without_scene(settings, leave_out)
    check_training(settings.batch, settings.window, settings.tile or settings.window)
    device = resolve_device(device_name)
    sources = sources_of_training(settings, data_folder)  # before any is opened
    with training_process(device) as process, held_for_training(out, is_first=process.is_first):
        session = _Session(
            data_folder,
            progress if process.is_first else SilentProgress(),
            process.own_device(device),
            process,
            sources,
        )
        report = _train_one(settings, out, session, resume=resume, restart=restart)
        if seeds > 1:
            report = _with_seeds(report, settings, out, session, seeds)
        if each_scene_left_out:
            report = _with_scenes_left_out(report, settings, out, session)
    return report


def _with_seeds(
    report: TrainingReport, settings: TrainingSettings, out: Path, session: _Session, seeds: int
) -> TrainingReport:
    """Train again from other seeds, and put the scores of all into the package and the report."""
    scores = {str(settings.seed): overall(report.scores)}
    for seed in range(settings.seed + 1, settings.seed + seeds):
        other = settings.model_copy(update={"seed": seed, "name": f"{settings.name}-seed-{seed}"})
        scores[str(seed)] = overall(_train_one(other, seed_folder(out, seed), session, resume=True).scores)
    return _with_more(replace(report, seeds=scores), out, session)


def _with_scenes_left_out(
    report: TrainingReport, settings: TrainingSettings, out: Path, session: _Session
) -> TrainingReport:
    """Train again without each scene in turn, and put its scores into the package and the report."""
    left_out = {}
    for scene in parts_of(settings):
        # a left-out training is part of this command: what is there of it is continued
        inner = _train_one(without_scene(settings, scene), left_out_folder(out, scene), session, resume=True)
        left_out[scene] = inner.scores.get(scene)
    return _with_more(replace(report, left_out=left_out), out, session)


def _with_more(report: TrainingReport, out: Path, session: _Session) -> TrainingReport:
    """Put the scores of further trainings into the package and the report."""
    if session.process.is_first:
        add_left_out_scores(report.model, report.left_out, report.spread)
        write_report(out / REPORT_FILE, report)
    return report


def _train_one(
    settings: TrainingSettings, out: Path, session: _Session, *, resume: bool, restart: bool = False
) -> TrainingReport:
    with reproducible(settings, session.device):
        check_folder(out, resume=resume, restart=restart)
        scenes = open_scenes(settings, session.data_folder)
        try:
            return _train_on(settings, scenes, out, session, resume=resume, restart=restart)
        finally:
            for scene in scenes:
                scene.close()


def _train_on(
    settings: TrainingSettings,
    scenes: Sequence[LabelledScene],
    out: Path,
    session: _Session,
    *,
    resume: bool,
    restart: bool,
) -> TrainingReport:
    areas = _held_out_areas(scenes)
    for note in (*notes_on(scenes), *notes_on_large_areas(areas)):
        session.progress.noted(note)
    survey = survey_scenes([s for s in scenes if s.settings.use == "train"], len(settings.classes))
    for note in (*notes_on_objects(survey, settings), *notes_on_unlabelled_classes(survey, settings)):
        session.progress.noted(note)
    make_folder(out)  # not before all else was accepted
    if restart and session.process.is_first:
        forget_training(out)
    remove_leftovers(out)
    packager = Packager(settings, areas, survey, out, session.device)
    observer = PackagingObserver(packager, session.progress)
    training = Training(
        settings,
        first_network(settings, packager.manifest, session.data_folder),
        TrainingWindows(settings, session.data_folder, survey),
        partial(_scored, packager, session.sources),
        folder=out,
        device=session.device,
        process=session.process,
        observer=observer,
        fingerprint=fingerprint(settings, session.process),
        sources=session.sources.as_text(),
    )
    if resume:
        training.resume()
    log.info(
        "%s: step %d of %d on %s, into %s", settings.name, training.step, settings.steps, session.device, out
    )
    session.progress.started(settings.name, training.step, settings.steps)
    if not session.process.is_first:
        training.run()
        return TrainingReport(settings.name, packager.folder, training.step, {}, {})
    return _run_and_report(settings.name, training, packager, observer, out, session.sources)


def _held_out_areas(scenes: Sequence[LabelledScene]) -> list[ValidationArea]:
    areas = validation_areas(scenes)
    if not areas:
        msg = "no scene has a held_out window or use: validate; a training without held-out scores is refused"
        raise TrainingError(msg)
    if not any(area.has_labels() for area in areas):
        names = ", ".join(area.name for area in areas[:3])
        msg = f"what is held out has no labelled pixel ({names}), so nothing could be scored: move held_out"
        raise TrainingError(msg)
    return areas


def _scored(packager: Packager, sources: KnownSources, network: nn.Module) -> dict[str, float]:
    """Score a network; a checkpoint follows, and it must not be of two versions."""
    scores = packager.score(network)
    sources.require_same()
    return scores


def _run_and_report(
    name: str,
    training: Training,
    packager: Packager,
    observer: PackagingObserver,
    out: Path,
    sources: KnownSources,
) -> TrainingReport:
    """Train in the process that logs and writes."""
    with TrainingLog(out, training.history) as log:
        observer.log = log
        kept = training.run()
    found = packager.finish(kept, training, sources.require_same)
    report = TrainingReport(name, packager.folder, training.step, found.told, {}, notes=found.notes)
    write_report(out / REPORT_FILE, report)
    return report
