"""Scores to codes and bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segment_tiles.pipeline.inference.accumulator import class_codes, put_bytes


@pytest.mark.parametrize("classes", [1, 2, 5, 255, 256, 300])
def test_the_code_is_the_first_class_with_the_highest_score(classes: int) -> None:
    # few values, so that scores tie; a view of more columns, as tiles are
    scores = torch.randint(0, 4, (classes, 7, 19), generator=torch.Generator().manual_seed(1)).float()[
        :, :, 2:13
    ]
    codes, best = class_codes(scores)
    np.testing.assert_array_equal(codes.numpy(), scores.numpy().argmax(axis=0))
    np.testing.assert_array_equal(best.numpy(), scores.numpy().max(axis=0))
    assert codes.dtype == (torch.uint8 if classes <= 255 else torch.int32)


def test_a_share_is_rounded_to_the_nearest_byte() -> None:
    share = torch.tensor([[0.0, 0.001, 0.002, 0.5, 0.9979, 0.9981, 1.0]])
    row = torch.full((1, 10), 77, dtype=torch.uint8)
    put_bytes(row[:, 2:9], share)
    assert row.tolist() == [[77, 77, 0, 0, 1, 128, 254, 255, 255, 77]]
    assert share.tolist()[0][3] == 0.5, "the share itself stays as it is"
