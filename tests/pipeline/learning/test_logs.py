"""What a training logs: the same numbers in CSV and TensorBoard, each step once, after a kill too."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segment_tiles.pipeline.learning.training.logs import SCORES_FILE, STEPS_FILE, TrainingLog


def step(number: int, loss: float) -> dict[str, float]:
    return {"step": float(number), "loss": loss, "learning_rate": 1e-3 / number, "gradient_norm": 2.5 * loss}


def score(number: int, mean_iou: float) -> dict[str, float]:
    return {"step": float(number), "mean_iou": mean_iou, "iou tree canopy": mean_iou / 3}


def board_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    board = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    return {tag: [(e.step, e.value) for e in board.Scalars(tag)] for tag in board.Tags()["scalars"]}


def csv_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for name in (STEPS_FILE, SCORES_FILE):
        with (folder / name).open(newline="") as file:
            for row in csv.DictReader(file):
                number = int(row.pop("step"))
                for key, value in row.items():
                    found.setdefault(key, []).append((number, float(value)))
    return found


def assert_alike(folder: Path) -> None:
    board, table = board_of(folder), csv_of(folder)
    assert set(board) == set(table)
    for name, rows in table.items():
        assert [number for number, _ in board[name]] == [number for number, _ in rows], name
        assert [value for _, value in board[name]] == pytest.approx([value for _, value in rows], rel=1e-5)


def test_csv_and_tensorboard_have_the_same_numbers(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, []) as log:
        for number in range(1, 5):
            log.write(step(number, 1 / number))
        log.write(score(4, 0.4))
    assert_alike(tmp_path)
    assert csv_of(tmp_path)["loss"] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3, rel=1e-5)), (4, 0.25)]


def test_steps_after_the_checkpoint_of_a_killed_training_are_logged_once(tmp_path: Path) -> None:
    history = [step(1, 1.0), score(1, 0.1), step(2, 0.9), score(2, 0.2), step(3, 0.8), score(3, 0.3)]
    with TrainingLog(tmp_path, []) as log:
        for row in [*history, step(4, 0.7), step(5, 0.6)]:
            log.write(row)
    time.sleep(1.1)  # TensorBoard orders its files by the second
    with TrainingLog(tmp_path, history) as log:  # what the checkpoint of step 3 brought along
        for number in (4, 5, 6):
            log.write(step(number, 0.5))
    assert_alike(tmp_path)
    assert [number for number, _ in board_of(tmp_path)["loss"]] == [1, 2, 3, 4, 5, 6]
