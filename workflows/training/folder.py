"""The folder of a training: one training at a time, never one over another by mistake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segment_tiles.pipeline.durable import remove
from segment_tiles.pipeline.errors import TrainingError, UsageError
from segment_tiles.pipeline.learning.training.checkpoint import CHECKPOINT_NAME
from segment_tiles.workflows.output_folder.check import check_output_folder
from segment_tiles.workflows.output_folder.lock import held_folder

REPORT_FILE = "report.json"
LOCK_FOLDER = ".training"
"""In the folder of a training while one is at work there."""
LEFT_OUT, SEED = "left-out-", "seed-"
"""Beginnings of the names of folders of further trainings."""


def left_out_folder(out: Path, scene: str) -> Path:
    """Return the folder of the training that leaves a scene out."""
    return out / f"{LEFT_OUT}{scene}"


def seed_folder(out: Path, seed: int) -> Path:
    """Return the folder of the training from another seed."""
    return out / f"{SEED}{seed}"


@contextmanager
def held_for_training(out: Path, *, is_first: bool) -> Iterator[None]:
    """Keep other trainings out of a folder; folders that were made and stay empty are removed again.

    Parameters
    ----------
    out
        Folder of the results.
    is_first
        Whether this process is the one that writes, which holds the lock for all.

    Raises
    ------
    UsageError, OutputError
        If it cannot be written, or another training is at work there: says which, since when.
    """
    if not is_first:
        yield
        return
    check_output_folder(out)
    made = [folder for folder in (out, *out.absolute().parents) if not folder.exists()]
    try:
        with held_folder(out / LOCK_FOLDER, out):
            yield
    finally:
        for folder in made:
            with suppress(OSError):  # it holds what was written
                folder.rmdir()


def check_folder(out: Path, *, resume: bool, restart: bool) -> None:
    """Refuse to train over the checkpoint of another start without being told so.

    Raises
    ------
    UsageError
        If both options are given.
    TrainingError
        If there is a checkpoint.
    """
    if resume and restart:
        msg = "--resume and --restart exclude each other: go on with what is there, or begin anew"
        raise UsageError(msg)
    if (out / CHECKPOINT_NAME).exists() and not (resume or restart):
        msg = (
            f"{out} has the checkpoint of a training; go on with it by --resume, begin anew with --restart, or "
            "choose another --out"
        )
        raise TrainingError(msg)


def forget_training(out: Path) -> None:
    """Remove checkpoint and report of an earlier training, and of those from other seeds and without some scenes.

    The model package stays until the new one replaces it.
    """
    further = (*out.glob(f"{LEFT_OUT}*"), *out.glob(f"{SEED}*"))
    for folder in (out, *further):
        for name in (CHECKPOINT_NAME, REPORT_FILE):
            remove(folder / name)
