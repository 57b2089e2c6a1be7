"""Checkpoints: everything that a training needs to resume exactly."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from segment_tiles.pipeline.durable import whole_file
from segment_tiles.pipeline.errors import TrainingError, WriteFailedError, one_line

CHECKPOINT_NAME = "checkpoint.pt"


@dataclass(slots=True)
class Checkpoint:
    """State after ``step`` steps. Samples and dropout are drawn from the step number, so no generator is kept."""

    step: int
    network: dict[str, Any]
    average: dict[str, Any] | None
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    best_score: float
    scores_without_progress: int
    kept_weights: dict[str, Any] | None
    fingerprint: str
    """Of the settings; a checkpoint of another training is refused."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row per step and score, as the CSV log has them."""
    sources: dict[str, str] = field(default_factory=dict)
    """Version of each source by what it is; empty in checkpoints of earlier versions of this program."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the old one stays until the new one is complete.

    Raises
    ------
    WriteFailedError
        The disk is full or cannot be written.
    """
    path = folder / CHECKPOINT_NAME
    try:
        with whole_file(path) as partial:
            torch.save({name: getattr(checkpoint, name) for name in Checkpoint.__slots__}, partial)
    except (OSError, RuntimeError) as error:  # torch's own writer raises the latter
        msg = f"{path} cannot be written ({one_line(error)}); free some space and go on with --resume"
        raise WriteFailedError(msg) from error


def load_checkpoint(
    folder: Path, fingerprint: str, sources: Mapping[str, str] | None = None
) -> Checkpoint | None:
    """Return the checkpoint of a folder, or None if there is none.

    Raises
    ------
    TrainingError
        It is damaged, or of a training with other settings, or of other versions of its sources.
    """
    path = folder / CHECKPOINT_NAME
    if not path.exists():
        return None
    checkpoint = _read(path)
    if checkpoint.fingerprint != fingerprint:
        msg = (
            f"{path} belongs to a training with other settings or data; restore them, begin anew with --restart, or "
            "choose another --out"
        )
        raise TrainingError(msg)
    for what, version in (sources or {}).items():
        if checkpoint.sources.get(what, version) != version:
            msg = (
                f"{path} is of another version of {what} (it was {checkpoint.sources[what]}, is now {version}); "
                "put it back as it was, begin anew with --restart, or choose another --out"
            )
            raise TrainingError(msg)
    return checkpoint


def _read(path: Path) -> Checkpoint:
    try:
        with zipfile.ZipFile(path) as parts:  # torch does not notice a wrong byte in the weights
            damaged = parts.testzip()
        if damaged is not None:
            msg = f"{path} is damaged in {damaged}; remove it, or begin anew with --restart"
            raise TrainingError(msg)
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (
        RuntimeError,
        TypeError,
        EOFError,
        OSError,
        ValueError,
        zipfile.BadZipFile,
        UnpicklingError,
    ) as error:
        msg = f"{path} cannot be read as a checkpoint ({one_line(error)}); remove it, or begin anew with --restart"
        raise TrainingError(msg) from error
