"""Logs of a training: CSV always, TensorBoard if it is installed."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from segment_tiles.pipeline.durable import sync_file, sync_folder

STEPS_FILE = "steps.csv"
SCORES_FILE = "scores.csv"
TENSORBOARD_FOLDER = "tensorboard"


class TrainingLog:
    """Writes rows as they come, after those of the checkpoint.

    ``steps.csv`` has a row per step, ``scores.csv`` a row per validation, ``tensorboard/`` the same.
    """

    def __init__(self, folder: Path, history: Sequence[Mapping[str, float]]) -> None:
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._writers: dict[str, Any] = {}
        self._board: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra

            # what a killed training logged after its checkpoint is logged again
            following = int(history[-1]["step"]) + 1 if history else None
            self._board = SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=following)
        for row in history:
            self._write_csv(row)

    def write(self, row: Mapping[str, float]) -> None:
        """Log one row; rows with a mean_iou are scores, the others steps."""
        self._write_csv(row)
        if self._board is not None:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(name, value, int(row["step"]))

    def _write_csv(self, row: Mapping[str, float]) -> None:
        name = SCORES_FILE if "mean_iou" in row else STEPS_FILE
        if name not in self._writers:
            self._files[name] = (self._folder / name).open("w", newline="", encoding="utf-8")
            self._writers[name] = csv.DictWriter(self._files[name], fieldnames=list(row))
            self._writers[name].writeheader()
        self._writers[name].writerow({key: f"{value:.6g}" for key, value in row.items()})
        self._files[name].flush()

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
            sync_file(Path(file.name))
        if self._files:
            sync_folder(self._folder)
        if self._board is not None:
            self._board.close()
