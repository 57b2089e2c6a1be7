"""Calibration error: what is certain and right costs nothing, what is certain and wrong costs all."""

import numpy as np
import pytest

from segment_tiles.pipeline.learning.scores.calibration import Calibration


def test_certain_and_right_is_calibrated() -> None:
    calibration = Calibration()
    calibration.add(np.full(10, 255, dtype=np.uint8), np.ones(10, dtype=bool))
    assert calibration.error == 0


def test_certain_and_wrong_is_not() -> None:
    calibration = Calibration()
    calibration.add(np.full(10, 255, dtype=np.uint8), np.zeros(10, dtype=bool))
    assert calibration.error == 1


def test_error_is_the_distance_of_confidence_and_accuracy_in_parts() -> None:
    right = np.array([True] * 9 + [False])
    calibration = Calibration()
    calibration.add(np.full(10, 204, dtype=np.uint8), right)  # says 0.8, is right at 0.9
    calibration.add(np.full(30, 153, dtype=np.uint8), np.array([True] * 18 + [False] * 12))  # 0.6 and 0.6
    assert calibration.error == pytest.approx(0.25 * 0.1)
    assert [b.pixels for b in calibration.bins()] == [30, 10]
