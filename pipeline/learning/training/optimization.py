"""Optimizer, learning-rate schedule and moving average of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from segment_tiles.pipeline.learning.settings import OptimizerSettings
from segment_tiles.pipeline.learning.training.initialization import BACKBONE_PREFIXES


def build_optimizer(settings: OptimizerSettings, network: nn.Module) -> Optimizer:
    """Return the optimizer; norms and biases are not decayed."""
    groups = []
    for in_backbone in (False, True):
        rate = settings.learning_rate * (settings.backbone_factor if in_backbone else 1.0)
        trained = [
            p for name, p in network.named_parameters()
            if p.requires_grad and name.startswith(BACKBONE_PREFIXES) == in_backbone
        ]  # fmt: skip
        for decay, chosen in (
            (settings.weight_decay, [p for p in trained if p.ndim > 1]),
            (0.0, [p for p in trained if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "lr": rate})
    if settings.kind == "sgd":
        return SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)
    return AdamW(groups, lr=settings.learning_rate)


def learning_rate_factor(settings: OptimizerSettings, steps: int) -> Callable[[int], float]:
    r"""Return step -> factor: linear warm-up, then (1 - step / steps) ** power (DeepLabv3, section 4.1).

    With restarts each cycle falls from its own first rate to zero::

        1    |\_
        0.5  |  \_  |\_
             |    \_|  \__
             0    restart   steps
    """
    edges = (0, *settings.restarts, steps)

    def factor(step: int) -> float:
        warm_up = min(1.0, (step + 1) / (settings.warm_up_steps + 1))
        cycle = max(number for number, edge in enumerate(edges[:-1]) if step >= edge)
        first, last = edges[cycle], edges[cycle + 1]
        remaining: float = max(0.0, 1 - (step - first) / (last - first)) ** settings.poly_power
        return warm_up * remaining * settings.restart_factor**cycle

    return factor


def build_schedule(settings: OptimizerSettings, optimizer: Optimizer, steps: int) -> LambdaLR:
    """Return the schedule of the learning rate, stepped once per training step."""
    return LambdaLR(optimizer, learning_rate_factor(settings, steps))


def build_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return the exponential moving average of weights and batch-norm statistics.

    The decay rises to its value, min(decay, (1 + n) / (10 + n)) after n steps, so that the first random
    weights are soon forgotten.
    """

    def average(averaged: Sequence[Tensor], current: Sequence[Tensor], steps: Tensor | int) -> None:
        done = int(steps)
        now = min(decay, (1 + done) / (10 + done))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(list(averaged), list(current), 1 - now)
        else:  # counters of batch norms
            torch._foreach_copy_(list(averaged), list(current))

    # torch's types know one of the two forms that it calls this with
    return AveragedModel(network, multi_avg_fn=cast(Any, average), use_buffers=True)
