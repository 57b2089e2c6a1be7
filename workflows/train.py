"""Train: a configuration in, a model package with its scores, logs and pictures out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.learning.checkpoint import CHECKPOINT_NAME
from segment_tiles.pipeline.learning.initialization import (
    FROM_TIMM,
    freeze,
    load_backbone,
    open_residual_branches,
)
from segment_tiles.pipeline.learning.logs import TrainingLog
from segment_tiles.pipeline.learning.processes import TrainingProcess, training_process
from segment_tiles.pipeline.learning.scenes import LabelledScene, open_scenes
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.learning.survey import survey_scenes
from segment_tiles.pipeline.learning.training import Training
from segment_tiles.pipeline.learning.validation import validation_areas
from segment_tiles.pipeline.learning.windows import TrainingWindows
from segment_tiles.pipeline.models.build import build_network
from segment_tiles.pipeline.models.devices import resolve_device
from segment_tiles.workflows.training_package import (
    Packager,
    PackagingObserver,
    TrainingProgress,
    add_left_out_scores,
)

REPORT_FILE = "report.json"


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What came out of a training."""

    name: str
    model: Path
    """Folder of the model package."""
    steps: int
    scores: Mapping[str, Any]
    """Of each held-out area, by the weights as they were saved."""
    left_out: Mapping[str, Any]
    """Scene -> scores of another training that never saw it."""


def train(
    settings: TrainingSettings,
    data_folder: Path,
    out: Path,
    progress: TrainingProgress,
    *,
    device_name: str = "auto",
    resume: bool = False,
    leave_out: str | None = None,
    each_scene_left_out: bool = False,
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
    leave_out
        Scene to leave out of the training and to score instead.
    each_scene_left_out
        Afterwards train again without each scene in turn, and put its scores into the package.

    Raises
    ------
    TrainingError
        Labels do not fit, nothing is held out, ``out`` holds another training, or the loss is no number.
    """
    if leave_out is not None:
        settings = without_scene(settings, leave_out)
    report = _train_one(settings, data_folder, out, progress, device_name, resume=resume)
    if not each_scene_left_out:
        return report
    left_out = {}
    for scene in [s.name for s in settings.scenes if s.use == "train"]:
        folder = out / f"left-out-{scene}"
        # a left-out training is part of this command: what is there of it is gone on with
        inner = _train_one(
            without_scene(settings, scene), data_folder, folder, progress, device_name, resume=True
        )
        left_out[scene] = inner.scores[scene]
    add_left_out_scores(report.model, left_out)
    report = replace(report, left_out=left_out)
    _write_json(out / REPORT_FILE, report)
    return report


def without_scene(settings: TrainingSettings, scene: str) -> TrainingSettings:
    """Return the settings of a training that scores one scene and never sees it.

    Raises
    ------
    TrainingError
        There is no such training scene, or it is the only one.
    """
    names = [s.name for s in settings.scenes if s.use == "train"]
    if scene not in names or len(names) < 2:
        msg = (
            f"--leave-out names {scene!r}; it must be one of two or more training scenes ({', '.join(names)})"
        )
        raise TrainingError(msg)
    scenes = tuple(
        s.model_copy(update={"use": "validate", "held_out": ()}) if s.name == scene else s
        for s in settings.scenes
        if s.name == scene or s.use == "train"
    )
    steps = settings.left_out_steps or settings.steps
    restarts = tuple(step for step in settings.optimizer.restarts if step < steps)
    optimizer = settings.optimizer.model_copy(update={"restarts": restarts})
    # the scene is for the score alone: nothing is chosen by it
    changes = {"scenes": scenes, "steps": steps, "optimizer": optimizer, "keep": "last"}
    return settings.model_copy(
        update=changes | {"patience": None, "name": f"{settings.name}-without-{scene}"}
    )


def _train_one(
    settings: TrainingSettings,
    data_folder: Path,
    out: Path,
    progress: TrainingProgress,
    device_name: str,
    *,
    resume: bool,
) -> TrainingReport:
    device = resolve_device(device_name)
    with _reproducible(settings, device), training_process(device) as process:
        if device.type == "cuda" and process.count > 1:
            device = torch.device("cuda", process.local_rank)
        _check_folder(out, resume=resume)
        scenes = open_scenes(settings, data_folder)
        try:
            return _train_on(settings, scenes, data_folder, out, progress, device, process, resume=resume)
        finally:
            for scene in scenes:
                scene.close()


def _train_on(
    settings: TrainingSettings,
    scenes: Sequence[LabelledScene],
    data_folder: Path,
    out: Path,
    progress: TrainingProgress,
    device: torch.device,
    process: TrainingProcess,
    *,
    resume: bool,
) -> TrainingReport:
    for scene in scenes:
        for note in scene.labels.notes:
            progress.noted(note)
    areas = validation_areas(scenes)
    if not areas:
        msg = "no scene has a held_out window or use: validate; a training without held-out scores is refused"
        raise TrainingError(msg)
    training_scenes = [s for s in scenes if s.settings.use == "train"]
    survey = survey_scenes(training_scenes, len(settings.classes))
    packager = Packager(settings, areas, survey, out, device)
    torch.manual_seed(settings.seed)
    network = build_network(
        packager.manifest.architecture,
        scenes[0].source.spec.bands,
        len(settings.classes),
        pretrained=settings.network.initial_backbone == FROM_TIMM,
    )
    _prepare(network, settings, data_folder)
    observer = PackagingObserver(packager, progress)
    training = Training(
        settings,
        network,
        TrainingWindows(settings, data_folder, survey),
        packager.score,
        folder=out,
        device=device,
        process=process,
        observer=observer,
        fingerprint=_fingerprint(settings, process),
    )
    if resume:
        training.resume()
    progress.started(settings.name, training.step, settings.steps)
    if not process.is_first:
        training.run()
        return TrainingReport(settings.name, packager.folder, training.step, {}, {})
    with TrainingLog(out, training.history) as log:
        observer.log = log
        kept = training.run()
    scores = packager.finish(kept, training)
    report = TrainingReport(settings.name, packager.folder, training.step, scores, {})
    _write_json(out / REPORT_FILE, report)
    return report


def _prepare(network: nn.Module, settings: TrainingSettings, data_folder: Path) -> None:
    """Give the network its first weights, and fix those that stay."""
    open_residual_branches(network)
    wanted = settings.network
    if wanted.initial_backbone not in {None, FROM_TIMM}:
        load_backbone(network.get_submodule("backbone"), str(wanted.initial_backbone), data_folder)
    if wanted.frozen:
        freeze(network.get_submodule("backbone"), wanted.frozen)


def _check_folder(out: Path, *, resume: bool) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if (out / CHECKPOINT_NAME).exists() and not resume:
        msg = f"{out} has the checkpoint of a training; go on with it by --resume, or choose another --out"
        raise TrainingError(msg)


@contextmanager
def _reproducible(settings: TrainingSettings, device: torch.device) -> Iterator[None]:
    """Make the same steps give the same weights, on one machine and one number of threads."""
    threads = torch.get_num_threads()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    # bilinear resizing has no deterministic gradient on CUDA, so there it is only as good as cuDNN
    torch.use_deterministic_algorithms(device.type == "cpu")
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False


def _fingerprint(settings: TrainingSettings, process: TrainingProcess) -> str:
    """Return what must be the same for a resume to be exact."""
    document = settings.model_dump(
        mode="json", exclude={"loader_processes", "limits", "description"}, exclude_defaults=True
    )
    text = json.dumps(document | {"processes": process.count}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _write_json(path: Path, report: TrainingReport) -> None:
    document = {
        "name": report.name,
        "model": str(report.model),
        "steps": report.steps,
        "scores": report.scores,
        "left_out": report.left_out,
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
