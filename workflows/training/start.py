"""What a training starts from: the network with its first weights, and what makes its steps repeatable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.learning.processes import TrainingProcess
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.learning.training.initialization import (
    FROM_TIMM,
    backbone_of,
    freeze,
    load_backbone,
    open_residual_branches,
)
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.names import document_without_secrets


def first_network(settings: TrainingSettings, manifest: ModelManifest, data_folder: Path) -> nn.Module:
    """Build the network with its first weights, and fix those that stay."""
    wanted = settings.network
    torch.manual_seed(settings.seed)
    network = build_network(
        manifest.architecture,
        len(manifest.bands),
        len(settings.classes),
        pretrained=wanted.initial_backbone == FROM_TIMM,
    )
    open_residual_branches(network)
    if wanted.initial_backbone not in {None, FROM_TIMM}:
        load_backbone(backbone_of(network), str(wanted.initial_backbone), data_folder)
    if wanted.frozen:
        freeze(backbone_of(network), wanted.frozen)
    return network


@contextmanager
def reproducible(settings: TrainingSettings, device: torch.device) -> Iterator[None]:
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


def fingerprint(settings: TrainingSettings, process: TrainingProcess) -> str:
    """Return what must be the same for a resume to be exact."""
    document = settings.model_dump(
        mode="json",
        exclude={"loader_processes", "limits", "description", "sheaths"},
        exclude_defaults=True,
    )
    document = document_without_secrets(document)
    text = json_text(document | {"processes": process.count}, sort_keys=True, indent=None)
    return hashlib.sha256(text.encode()).hexdigest()


def without_scene(settings: TrainingSettings, scene: str) -> TrainingSettings:
    """Return the settings of a training that scores one scene and never sees it.

    Raises
    ------
    TrainingError
        There is no such training scene, or it is the only one.
    """
    names = parts_of(settings)
    if scene not in names or len(names) < 2:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        msg = f"--leave-out names {scene!r}; it must be one of two or more training scenes ({shown})"
        raise TrainingError(msg)
    scenes = tuple(_side_of(s, scene) for s in settings.scenes if _is_used(s) or _part_of(s) == scene)
    steps = settings.left_out_steps or settings.steps
    restarts = tuple(step for step in settings.optimizer.restarts if step < steps)
    optimizer = settings.optimizer.model_copy(update={"restarts": restarts})
    # the scene is for the score alone: nothing is chosen by it
    changes = {"scenes": scenes, "steps": steps, "optimizer": optimizer, "keep": "last"}
    return settings.model_copy(
        update=changes | {"patience": None, "name": f"{settings.name}-without-{scene}"}
    )


def parts_of(settings: TrainingSettings) -> list[str]:
    """Return what can be left out: training scenes, and the folds of pictures, also those that are held out."""
    return list(dict.fromkeys(_part_of(scene) for scene in settings.scenes if _is_used(scene)))


def _part_of(scene: SceneSettings) -> str:
    return scene.part or scene.name


def _is_used(scene: SceneSettings) -> bool:
    return scene.use == "train" or bool(scene.folder)


def _side_of(scene: SceneSettings, left_out: str) -> SceneSettings:
    """Return a scene on its side: scored if it is left out, else trained on, pictures of other folds too."""
    if _part_of(scene) == left_out:
        changes = {"use": "validate", "held_out": (), "told_as": scene.told_as and left_out}
        return scene.model_copy(update=changes)
    return scene.model_copy(update={"use": "train"}) if scene.folder else scene
