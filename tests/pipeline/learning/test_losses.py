"""Losses: ignored pixels never count, and better logits cost less."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segment_tiles.pipeline.learning.settings import IGNORE_CODE, LossSettings
from segment_tiles.pipeline.learning.training.losses import build_loss

KINDS = ["cross_entropy", "dice_cross_entropy", "focal", "lovasz", "top_k"]


def example() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (2, 8, 8))
    labels[0, :3] = IGNORE_CODE
    return torch.randn(2, 3, 8, 8), labels


@pytest.mark.parametrize("kind", KINDS)
def test_ignored_pixels_do_not_count(kind: str) -> None:
    loss = build_loss(LossSettings(kind=kind))  # type: ignore[arg-type]
    logits, labels = example()
    changed = logits.clone()
    changed[0, :, :3] = 100 * torch.randn(3, 3, 8)
    assert loss(logits, labels).item() == pytest.approx(loss(changed, labels).item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_only_ignored_pixels_give_zero_with_a_gradient(kind: str) -> None:
    loss = build_loss(LossSettings(kind=kind))  # type: ignore[arg-type]
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((1, 4, 4), IGNORE_CODE))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("kind", KINDS)
def test_descent_reaches_the_labels(kind: str) -> None:
    loss = build_loss(LossSettings(kind=kind))  # type: ignore[arg-type]
    logits, labels = example()
    logits = (logits * 0.1).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        loss(logits, labels).backward()
        optimizer.step()
    known = labels != IGNORE_CODE
    assert (logits.argmax(1)[known] == labels[known]).float().mean() > 0.98


def test_cross_entropy_is_that_of_torch() -> None:
    logits, labels = example()
    ours = build_loss(LossSettings(kind="cross_entropy"))(logits, labels)
    assert ours.item() == pytest.approx(F.cross_entropy(logits, labels, ignore_index=IGNORE_CODE).item())


def test_top_k_is_the_mean_of_the_hardest() -> None:
    logits, labels = example()
    every = F.cross_entropy(logits, labels, ignore_index=IGNORE_CODE, reduction="none")[labels != IGNORE_CODE]
    hardest = every.sort(descending=True).values[: int(len(every) * 0.2)]
    ours = build_loss(LossSettings(kind="top_k", top_fraction=0.2))(logits, labels)
    assert ours.item() == pytest.approx(hardest.mean().item())


def test_lovasz_of_a_hard_map_is_one_minus_the_mean_iou() -> None:
    labels = torch.tensor([[[0, 0, 1, 1]]])
    mapped = torch.tensor([[[0, 1, 1, 1]]])
    logits = 200.0 * F.one_hot(mapped, 2).movedim(-1, 1).float()
    mean_iou = (1 / 2 + 2 / 3) / 2
    assert build_loss(LossSettings(kind="lovasz"))(logits, labels).item() == pytest.approx(1 - mean_iou)


def test_weights_of_pixels_are_added_to_those_of_classes() -> None:
    random = torch.Generator().manual_seed(1)
    logits, labels = (
        torch.randn(2, 3, 4, 5, generator=random),
        torch.randint(0, 3, (2, 4, 5), generator=random),
    )
    labels[0, 0, 0] = IGNORE_CODE
    extra = torch.rand(2, 4, 5, generator=random)
    weights = (0.5, 1.0, 4.0)
    loss = build_loss(LossSettings(kind="cross_entropy", class_weights=weights))
    chances = logits.log_softmax(1)
    expected, pixels = 0.0, 0
    for image, row, column in np.ndindex(2, 4, 5):
        code = int(labels[image, row, column])
        if code != IGNORE_CODE:
            weight = weights[code] + float(extra[image, row, column])
            expected -= weight * float(chances[image, code, row, column])
            pixels += 1
    assert float(loss(logits, labels, extra)) == pytest.approx(expected / pixels, rel=1e-5)


def test_weights_from_counts_leave_the_weight_of_all_pixels() -> None:
    pixels = (900, 90, 10)
    loss = build_loss(LossSettings(class_weights="counts", kind="cross_entropy"), pixels)
    weights = loss.weights
    assert isinstance(weights, torch.Tensor)
    assert float((weights * torch.tensor(pixels)).sum()) == pytest.approx(1000, rel=1e-4)
    assert float(weights[1] / weights[0]) == pytest.approx(10**0.5, rel=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "lovasz", "class_weights": (1.0, 2.0)}, {"kind": "lovasz", "label_smoothing": 0.1},
        {"kind": "focal", "label_smoothing": 0.1}, {"kind": "cross_entropy", "gamma": 1.0},
        {"kind": "dice_cross_entropy", "top_fraction": 0.5},
    ],
)  # fmt: skip
def test_a_setting_that_a_loss_would_not_heed_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=f"loss.{list(settings)[1]} says nothing to {settings['kind']}; leave it out"
    ):
        LossSettings.model_validate(settings)


def test_every_setting_that_is_accepted_changes_the_loss() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    others: dict[str, Any] = {
        "class_weights": (1.0, 5.0, 0.5), "label_smoothing": 0.2, "gamma": 0.5, "top_fraction": 0.7,
    }  # fmt: skip
    tried = 0
    for kind in ("focal", "top_k", "cross_entropy", "dice_cross_entropy"):
        value = build_loss(LossSettings.model_validate({"kind": kind}))(logits, labels).item()
        for name, other in others.items():
            try:
                settings = LossSettings.model_validate({"kind": kind, name: other})
            except ValueError:
                continue
            tried += 1
            assert build_loss(settings)(logits, labels).item() != pytest.approx(value, rel=1e-4), (kind, name)
    assert tried == 9
