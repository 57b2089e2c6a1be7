"""A class of one window on the ground of another."""

from __future__ import annotations

import numpy as np
import torch

from segment_tiles.pipeline.learning.pasting import paste

SIDE, EDGE = 64, 20
"""An edge reaches four sigmas of at most four pixels."""


def test_one_class_is_laid_over_and_nothing_else() -> None:
    values, labels = torch.zeros(3, SIDE, SIDE), torch.zeros((SIDE, SIDE), dtype=torch.int64)
    labels[:, :4] = 255
    other, other_labels = torch.ones(3, SIDE, SIDE), torch.zeros((SIDE, SIDE), dtype=torch.int64)
    other_labels[SIDE // 2 :] = 1
    image, codes = paste(values, labels, (other, other_labels), 1, np.random.default_rng(1))
    torch.testing.assert_close(
        image[:, : SIDE // 2 - EDGE], torch.zeros(3, SIDE // 2 - EDGE, SIDE), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(
        image[:, SIDE // 2 + EDGE :], torch.ones(3, SIDE // 2 - EDGE, SIDE), atol=1e-3, rtol=0
    )
    assert ((image > 0.05) & (image < 0.95)).any()  # the edge is soft
    assert (codes[SIDE // 2 :] == 1).all()
    assert (codes[: SIDE // 2, 4:] == 0).all()
    assert (codes[: SIDE // 2, :4] == 255).all()


def test_what_nobody_labelled_beside_it_is_pasted_without_a_label() -> None:
    labels = torch.zeros((SIDE, SIDE), dtype=torch.int64)
    other_labels = labels.clone()
    other_labels[40:] = 1
    other_labels[30:40] = 255
    values = torch.zeros(3, SIDE, SIDE)
    image, codes = paste(values, labels, (values + 1, other_labels), 1, np.random.default_rng(2))
    assert (codes[40:] == 1).all()
    assert (codes[35:40] == 255).all()  # nearer to the class than to the ground
    assert (codes[:35] == 0).all()
    assert float(image[:, 37].mean()) > 0.3


def test_a_window_without_the_class_changes_nothing() -> None:
    values, labels = torch.randn(3, SIDE, SIDE), torch.randint(0, 2, (SIDE, SIDE))
    other = torch.randn(3, SIDE, SIDE), torch.zeros((SIDE, SIDE), dtype=torch.int64)
    image, codes = paste(values, labels, other, 1, np.random.default_rng(3))
    torch.testing.assert_close(image, values, rtol=0, atol=0)
    torch.testing.assert_close(codes, labels, rtol=0, atol=0)
