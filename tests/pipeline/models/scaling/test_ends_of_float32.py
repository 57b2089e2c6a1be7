"""Numbers at the ends of what float32 has: refused, or computed without NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.scaling.scaler import Scaler
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.models.scaling.text import parse_scaling

CPU = torch.device("cpu")


def seen(scaling: Scaling, values: NDArray[Any]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (
        Scaler(scaling, values.shape[1], CPU).scaled(torch.from_numpy(values), None).numpy()
    )
    return found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("min-max:0,1e-50", r"at least 1\.18e-38"),
        ("min-max:-3e38,3e38", "finite in float32"),
        ("z-score:1,1e-46", r"at least 1\.18e-38"),
        ("z-score:1e39,1", "a finite mean in float32"),
        ("scale:1e39", "a finite value in float32"),
        ("scale:1e-39", r"at least 1\.18e-38"),
        ("offset:1e300", "a finite value in float32"),
        ("clip:0,1e39", "a finite maximum in float32"),
    ],
)
def test_numbers_that_float32_does_not_have_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_scaling(text)


@pytest.mark.parametrize(
    "text",
    [
        "min-max:0,1.1754943508222875e-38",
        "z-score:0,1.1754943508222875e-38",
        "scale:-1.1754943508222875e-38",
        "offset:3.4028235e38",
    ],
)
def test_the_last_numbers_that_float32_has_are_taken(text: str) -> None:
    assert np.isfinite(seen(parse_scaling(text), np.zeros((1, 1, 2, 2), np.float32))).all()


@pytest.mark.parametrize("text", ["min-max:scene", "min-max:scene:2,98", "z-score:scene"])
@pytest.mark.parametrize("values", [(1e20, 1e20), (-1e20, -1e20), (3e38, 3e38), (-3e38, 3e38), (0, 1e-40)])
def test_a_scene_of_any_size_gives_numbers(text: str, values: tuple[float, float]) -> None:
    scene = np.array(values * 8, np.float32).reshape(1, 1, 4, 4)
    measured = Scaler(parse_scaling(text), 1, CPU).measured(
        torch.from_numpy(scene), torch.ones(1, 4, 4, dtype=torch.bool)
    )
    assert measured is not None
    found = seen(measured, scene)
    assert not np.isnan(found).any()
    if values[0] == values[1]:
        assert not found.any()
