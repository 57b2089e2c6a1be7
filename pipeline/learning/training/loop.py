"""The training loop: steps, scores, checkpoints; the state after a step depends on the settings alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from segment_tiles.pipeline.errors import TrainingFailedError
from segment_tiles.pipeline.learning.data.windows import TrainingWindows
from segment_tiles.pipeline.learning.processes import TrainingProcess
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.learning.training.checkpoint import (
    CHECKPOINT_NAME,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from segment_tiles.pipeline.learning.training.loading import WindowNumbers, batches
from segment_tiles.pipeline.learning.training.losses import build_loss
from segment_tiles.pipeline.learning.training.mixed_precision import autocast
from segment_tiles.pipeline.learning.training.optimization import (
    build_average,
    build_optimizer,
    build_schedule,
)

Scorer = Callable[[nn.Module], dict[str, float]]
"""Scores a network on the validation areas: mean_iou and more."""


class TrainingObserver(Protocol):
    """Who wants to know how a training goes."""

    def stepped(self, row: dict[str, float]) -> None:
        """A step is done: step, loss, learning_rate, gradient_norm."""

    def scored(self, row: dict[str, float], kept: dict[str, Tensor]) -> None:
        """The network was scored: step, mean_iou and more; and the weights kept so far."""


class Training:
    """One training on one device in one process.

    Parameters
    ----------
    settings
        What is trained and how.
    network
        With its first weights.
    windows
        Training windows by number.
    score
        Called every ``validate_every`` steps with the averaged network, in the first process.
    folder
        Folder of the checkpoints.
    sources
        Version of each source by what it is; a checkpoint of other versions is refused.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        network: nn.Module,
        windows: TrainingWindows,
        score: Scorer,
        *,
        folder: Path,
        device: torch.device,
        process: TrainingProcess,
        observer: TrainingObserver,
        fingerprint: str,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self._settings, self._windows, self._score = settings, windows, score
        self._folder, self._device, self._process, self._observer = folder, device, process, observer
        self._fingerprint, self._sources = fingerprint, dict(sources or {})
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self._loss = build_loss(settings.loss, windows.pixels).to(device)
        self._optimizer = build_optimizer(settings.optimizer, self.network)
        self._schedule = build_schedule(settings.optimizer, self._optimizer, settings.steps)
        self._average = (
            build_average(self.network, settings.average_decay) if settings.average_decay else None
        )
        self.step = 0
        self.best_score, self._scores_without_progress = -math.inf, 0
        self._kept_weights: dict[str, Tensor] | None = None
        self.history: list[dict[str, float]] = []

    @property
    def scored_network(self) -> nn.Module:
        """The network that is scored and saved: the moving average if there is one."""
        return self.network if self._average is None else self._average.module

    def resume(self) -> bool:
        """Load the checkpoint of the folder; False if there is none."""
        checkpoint = load_checkpoint(self._folder, self._fingerprint, self._sources)
        if checkpoint is None:
            return False
        self.network.load_state_dict(checkpoint.network)
        if self._average is not None and checkpoint.average is not None:
            self._average.load_state_dict(checkpoint.average)
        self._optimizer.load_state_dict(checkpoint.optimizer)
        self._schedule.load_state_dict(checkpoint.schedule)
        self.step, self.history = checkpoint.step, checkpoint.history
        self.best_score = checkpoint.best_score
        self._scores_without_progress = checkpoint.scores_without_progress
        self._kept_weights = checkpoint.kept_weights
        return True

    def run(self) -> dict[str, Tensor]:
        """Train to the last step, or until the score stops rising, and return the weights to keep.

        Raises
        ------
        TrainingFailedError
            The loss or the gradients are no longer numbers; the last checkpoint stays.
        """
        settings = self._settings
        if self._is_exhausted:  # a resumed training that had stopped
            return self._kept_weights or {}
        network = self._process.wrap(self.network, self._device)
        numbers = WindowNumbers(self.step, settings.steps, settings.batch, self._process)
        for batch in self._batches(numbers):
            row = self._train_step(network, batch, numbers)
            self.step += 1
            self.history.append(row)
            self._observer.stepped(row)
            if (self.step % settings.validate_every == 0 or self.step == settings.steps) and self._assess():
                break
        assert self._kept_weights is not None or not self._process.is_first
        return self._kept_weights or {}

    @property
    def _is_exhausted(self) -> bool:
        patience = self._settings.patience
        return patience is not None and self._scores_without_progress >= patience

    def _batches(self, numbers: WindowNumbers) -> Iterator[list[Tensor]]:
        return batches(self._windows, numbers, self._settings.batch, self._settings.loader_processes)

    def _train_step(
        self, network: nn.Module, batch: Sequence[Tensor], numbers: WindowNumbers
    ) -> dict[str, float]:
        # dropout is drawn from the step, so that a resume needs no state of a generator
        torch.manual_seed(_seed_of(self._settings.seed, self.step, self._process.rank))
        network.train()
        values, labels, *weights = (tensor.to(self._device, non_blocking=True) for tensor in batch)
        values = values.contiguous(memory_format=torch.channels_last)
        with autocast(self._settings.precision, self._device):
            logits = network(values)
        loss = self._loss(logits.float(), labels, *weights)
        if not all(math.isfinite(value) for value in self._process.gather(loss.item())):
            raise self._not_a_number("loss", logits, labels, numbers)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = self._settings.optimizer.gradient_norm
        norm = nn.utils.clip_grad_norm_(
            self.network.parameters(), math.inf if limit is None else limit
        ).item()
        if not math.isfinite(norm):
            raise self._not_a_number("gradient", logits, labels, numbers)
        rate = self._schedule.get_last_lr()[0]
        self._optimizer.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self.network)
        return {
            "step": float(self.step + 1),
            "loss": loss.item(),
            "learning_rate": rate,
            "gradient_norm": norm,
        }

    def _not_a_number(
        self, what: str, logits: Tensor, labels: Tensor, numbers: WindowNumbers
    ) -> TrainingFailedError:
        """Say which windows of the step are at fault, in any process; all of them if that cannot be told."""
        windows = list(numbers.of_step(self.step))
        losses = [
            self._loss(one[None].float(), label[None]).item()
            for one, label in zip(logits.detach(), labels, strict=True)
        ]
        guilty = [n for n, value in zip(windows, losses, strict=True) if not math.isfinite(value)]
        everywhere = self._process.gather((guilty, windows))
        named = [n for found, _ in everywhere for n in found] or [n for _, all_ in everywhere for n in all_]
        where = "; ".join(self._windows.describe(n) for n in named[:3])
        has_checkpoint = (self._folder / CHECKPOINT_NAME).exists()
        kept = "the last checkpoint is kept" if has_checkpoint else "there is no checkpoint yet"
        return TrainingFailedError(
            f"the {what} of step {self.step + 1} is not a number at {where}; {kept}: "
            "look at the values there, or lower optimizer.learning_rate"
        )

    def _assess(self) -> bool:
        """Score, keep the weights, write a checkpoint; True if the training should stop."""
        stop = False
        if self._process.is_first:
            self._refuse_broken_weights()
            row = {"step": float(self.step)} | self._score(self.scored_network)
            best = self._kept_weights is None or row["mean_iou"] > self.best_score
            if best:
                self.best_score, self._scores_without_progress = row["mean_iou"], 0
            else:
                self._scores_without_progress += 1
            if best or self._settings.keep == "last":
                self._kept_weights = {
                    name: value.detach().cpu().clone()
                    for name, value in self.scored_network.state_dict().items()
                }
            self.history.append(row)
            save_checkpoint(self._folder, self._checkpoint())
            self._observer.scored(row, self._kept_weights or {})
            stop = self._is_exhausted
        return self._process.agree(stop)

    def _refuse_broken_weights(self) -> None:
        """Refuse to write weights that are not numbers into a checkpoint."""
        if all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
            return
        msg = (
            f"weights after step {self.step} are not numbers; the checkpoint before, if any, is kept: "
            "lower optimizer.learning_rate"
        )
        raise TrainingFailedError(msg)

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            step=self.step,
            network=self.network.state_dict(),
            average=None if self._average is None else self._average.state_dict(),
            optimizer=self._optimizer.state_dict(),
            schedule=_plain_state(self._schedule.state_dict()),
            best_score=self.best_score,
            scores_without_progress=self._scores_without_progress,
            kept_weights=self._kept_weights,
            fingerprint=self._fingerprint,
            sources=self._sources,
            history=self.history,
        )


def _seed_of(*numbers: int) -> int:
    """Return a seed that differs for every tuple of numbers."""
    digest = hashlib.sha256(",".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _plain_state(state: dict[str, Any]) -> dict[str, Any]:
    """Leave out the functions of the schedule: they come from the settings."""
    return {name: value for name, value in state.items() if name != "lr_lambdas"} | {
        "lr_lambdas": [None] * len(state["lr_lambdas"])
    }
