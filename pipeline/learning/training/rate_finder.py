r"""Learning rates tried one after the other, and the one at which the loss falls fastest (Smith 2017, 1506.01186).

::

    loss |~~~~~-._
         |        `.        /    the rate rises by the same factor at each step;
         |          `.    _/     suggested is that of the steepest fall
         |            `--'
         +------------------------ rate (log)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from segment_tiles.pipeline.errors import TrainingFailedError
from segment_tiles.pipeline.learning.data.windows import TrainingWindows
from segment_tiles.pipeline.learning.processes import TrainingProcess
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.learning.training.loading import WindowNumbers, batches
from segment_tiles.pipeline.learning.training.losses import build_loss
from segment_tiles.pipeline.learning.training.mixed_precision import autocast
from segment_tiles.pipeline.learning.training.optimization import build_optimizer

LOWEST, HIGHEST = 1e-6, 1.0
"""Learning rates of the first and the last step."""
SMOOTHING: Final = 0.9
"""Share of the loss so far in the moving mean."""
TOO_HIGH: Final = 4.0
"""The search ends when the smoothed loss is so many times the lowest."""


@dataclass(frozen=True, slots=True)
class RateSearch:
    """What was found."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Smoothed loss at each rate."""

    @property
    def suggested(self) -> float:
        """Rate at which the smoothed loss falls fastest over the logarithm of the rate.

        Raises
        ------
        TrainingFailedError
            The loss never fell.
        """
        slopes = (
            np.gradient(np.array(self.losses), np.log(self.rates)) if len(self.rates) > 2 else np.zeros(1)
        )
        steepest = int(slopes.argmin())
        if slopes[steepest] >= 0:
            msg = (
                f"the loss fell at no learning rate from {self.rates[0]:g} to {self.rates[-1]:g}; look at labels and "
                "classes, or search with more steps"
            )
            raise TrainingFailedError(msg)
        return float(f"{self.rates[steepest]:.2g}")


def find_rate(
    settings: TrainingSettings,
    network: nn.Module,
    windows: TrainingWindows,
    steps: int,
    device: torch.device,
) -> RateSearch:
    """Train for a few steps with rising learning rates; the network is spent afterwards.

    Parameters
    ----------
    settings
        Of the training; its own learning rate and schedule are not used.
    network
        With its first weights.
    windows
        Training windows by number.
    steps
        How many rates are tried at most.
    device
        On which it trains.
    """
    network = network.to(device).to(memory_format=torch.channels_last).train()
    loss_of = build_loss(settings.loss, windows.pixels).to(device)
    optimizer = build_optimizer(settings.optimizer, network)
    shares = [group["lr"] / settings.optimizer.learning_rate for group in optimizer.param_groups]
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for step, batch in enumerate(_batches(settings, windows, steps)):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / max(1, steps - 1))
        for group, share in zip(optimizer.param_groups, shares, strict=True):
            group["lr"] = rate * share
        torch.manual_seed(step)  # dropout
        values, labels, *weights = (tensor.to(device) for tensor in batch)
        with autocast(settings.precision, device):
            logits = network(values.contiguous(memory_format=torch.channels_last))
        loss: Tensor = loss_of(logits.float(), labels, *weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss.item()
        smoothed = mean / (1 - SMOOTHING ** (step + 1))
        if not math.isfinite(smoothed) or (losses and smoothed > TOO_HIGH * min(losses)):
            break
        rates.append(rate)
        losses.append(smoothed)
    return RateSearch(tuple(rates), tuple(losses))


def _batches(settings: TrainingSettings, windows: TrainingWindows, steps: int) -> Iterator[list[Tensor]]:
    numbers = WindowNumbers(0, steps, settings.batch, TrainingProcess())
    return batches(windows, numbers, settings.batch, settings.loader_processes)
