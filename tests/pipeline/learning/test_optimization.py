"""The learning rate of the papers, and the moving average."""

import pytest
import torch
from torch import nn

from segment_tiles.pipeline.learning.settings import OptimizerSettings
from segment_tiles.pipeline.learning.training.optimization import (
    build_average,
    build_optimizer,
    learning_rate_factor,
)


def test_poly_rate_falls_from_one_to_zero() -> None:
    factor = learning_rate_factor(OptimizerSettings(warm_up_steps=0, poly_power=0.9), 100)
    assert factor(0) == 1
    assert factor(50) == pytest.approx(0.5**0.9)
    assert factor(100) == 0


def test_warm_up_rises_to_the_poly_rate() -> None:
    factor = learning_rate_factor(OptimizerSettings(warm_up_steps=9, poly_power=0), 100)
    assert [round(factor(step), 1) for step in (0, 4, 9, 50)] == [0.1, 0.5, 1.0, 1.0]


def test_norms_and_biases_are_not_decayed() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    decayed, others = build_optimizer(OptimizerSettings(weight_decay=0.1), network).param_groups
    assert [p.ndim for p in decayed["params"]] == [4]
    assert decayed["weight_decay"] == 0.1
    assert len(others["params"]) == 3
    assert others["weight_decay"] == 0


def test_average_follows_weights_and_forgets_the_first_ones() -> None:
    network = nn.Linear(1, 1)
    nn.init.constant_(network.weight, 100.0)
    average = build_average(network, 0.9)
    average.update_parameters(network)
    with torch.no_grad():
        network.weight.fill_(1.0)
    for _ in range(20):
        average.update_parameters(network)
    assert average.module.weight.item() == pytest.approx(1.0, abs=2.0)
    assert average.module.weight.item() > 1.0


def test_each_cycle_falls_from_its_own_rate_to_zero() -> None:
    settings = OptimizerSettings(warm_up_steps=0, poly_power=1, restarts=(60,), restart_factor=0.5)
    factor = learning_rate_factor(settings, 100)
    assert factor(30) == pytest.approx(0.5)
    assert factor(60) == pytest.approx(0.5)
    assert factor(80) == pytest.approx(0.25)
    assert factor(100) == 0
    first_alone = learning_rate_factor(settings.model_copy(update={"restarts": ()}), 60)
    assert [factor(step) for step in range(60)] == [first_alone(step) for step in range(60)]
