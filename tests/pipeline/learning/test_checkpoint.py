"""Checkpoints: what is damaged is never continued, and an older one stays until the new one is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.learning.training.checkpoint import (
    CHECKPOINT_NAME,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)


def checkpoint(step: int) -> Checkpoint:
    weights = {"weight": torch.full((64, 64), float(step))}
    return Checkpoint(step, weights, None, {}, {}, 0.5, 0, weights, "fingerprint")


def test_a_damaged_checkpoint_is_refused_and_says_what_to_do(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Torch itself reads on where a byte of the weights is another."""
    save_checkpoint(tmp_path, checkpoint(1))
    damage(tmp_path / CHECKPOINT_NAME)
    if not (tmp_path / CHECKPOINT_NAME).exists():
        assert load_checkpoint(tmp_path, "fingerprint") is None
        return
    with pytest.raises(TrainingError, match="begin anew with --restart"):
        load_checkpoint(tmp_path, "fingerprint")


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"step": Foreign()}, tmp_path / CHECKPOINT_NAME)
    with pytest.raises(TrainingError, match=r"cannot be read as a checkpoint .*begin anew with --restart"):
        load_checkpoint(tmp_path, "fingerprint")


class Foreign:
    """What no checkpoint of this program holds."""


def test_the_older_one_stays_until_the_new_one_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, checkpoint(1))

    def killed(handle: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("segment_tiles.pipeline.durable.os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, checkpoint(2))
    found = load_checkpoint(tmp_path, "fingerprint")
    assert found is not None
    assert found.step == 1
