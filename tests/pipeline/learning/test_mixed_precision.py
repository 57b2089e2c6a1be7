"""What a network computes in while it learns: bf16, but for convolutions in groups."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from segment_tiles.pipeline.learning.settings import TrainingPrecision
from segment_tiles.pipeline.learning.training.mixed_precision import autocast

CPU = torch.device("cpu")


class Seen(TorchFunctionMode):
    """Notes in what each convolution computes, inside of what the product sets."""

    def __init__(self) -> None:
        super().__init__()
        self.types: list[tuple[bool, torch.dtype]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d:
            is_bf16 = torch.is_autocast_enabled("cpu")
            self.types.append((args[6] > 1, torch.bfloat16 if is_bf16 else args[0].dtype))
        return func(*args, **(kwargs or {}))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 16, 1), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 5, padding=2, groups=16), nn.BatchNorm2d(16),
        nn.ReLU(), nn.Conv2d(16, 16, 3, padding="same", groups=4), nn.Conv2d(16, 2, 1),
    )  # fmt: skip


def gradients(precision: TrainingPrecision) -> Tensor:
    values = torch.randn(4, 4, 24, 24, generator=torch.Generator().manual_seed(1))
    learner = network()
    with autocast(precision, CPU):
        scores = learner(values)
    nn.functional.cross_entropy(scores.float(), values.argmax(1) // 2).backward()
    return torch.cat([parameter.grad.flatten() for parameter in learner.parameters()])


@pytest.mark.parametrize(
    ("precision", "in_groups", "others"),
    [
        ("fp32", torch.float32, torch.float32),
        ("bf16", torch.bfloat16, torch.bfloat16),
        ("mixed", torch.float32, torch.bfloat16),
    ],
)
def test_what_convolutions_compute_in(
    precision: TrainingPrecision, in_groups: torch.dtype, others: torch.dtype
) -> None:
    with Seen() as mode, autocast(precision, CPU):
        scores = network()(torch.randn(2, 4, 16, 16))
    assert mode.types == [(False, others), (True, in_groups), (True, in_groups), (False, others)]
    assert scores.dtype == others


def test_where_a_network_turns_autocast_off_nothing_is_changed() -> None:
    values, weight = torch.randn(2, 4, 16, 16), torch.randn(4, 1, 3, 3)
    with autocast("mixed", CPU):
        within = torch.conv2d(input=values, weight=weight, groups=4)
        with torch.autocast("cpu", enabled=False):
            exact = torch.conv2d(values, weight, groups=4)
    assert (within.dtype, exact.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(within, exact.to(torch.bfloat16))


def test_mixed_gradients_are_those_of_float32_up_to_rounding() -> None:
    exact = gradients("fp32")
    errors = {name: (gradients(name) - exact).norm() / exact.norm() for name in ("bf16", "mixed")}
    assert 0 < errors["mixed"] < 0.05
    assert errors["mixed"] < 1.2 * errors["bf16"]
    assert torch.equal(gradients("mixed"), gradients("mixed"))


@pytest.mark.parametrize(("native", "chosen"), [(True, "mixed"), (False, "fp32")])
def test_auto_is_mixed_on_a_processor_that_computes_bf16(
    native: bool, chosen: TrainingPrecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    assert torch.equal(gradients("auto"), gradients(chosen))
    assert not torch.equal(gradients("auto"), gradients("bf16"))
