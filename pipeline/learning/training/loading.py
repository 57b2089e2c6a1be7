"""Batches in the order of steps, read ahead by other processes."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from segment_tiles.pipeline.learning.data.windows import TrainingWindows
from segment_tiles.pipeline.learning.processes import TrainingProcess
from segment_tiles.pipeline.parent_process import end_with_parent, main_not_imported


class WindowNumbers(Sampler[int]):
    """Numbers of the windows of one process, from a given step on: a window belongs to one step of one rank."""

    def __init__(self, first_step: int, steps: int, batch: int, process: TrainingProcess) -> None:
        self._steps = range(first_step, steps)
        self._batch, self._process = batch, process

    def of_step(self, step: int) -> range:
        """Return the numbers of one step."""
        first = (step * self._process.count + self._process.rank) * self._batch
        return range(first, first + self._batch)

    def __iter__(self) -> Iterator[int]:
        for step in self._steps:
            yield from self.of_step(step)

    def __len__(self) -> int:
        return len(self._steps) * self._batch


def batches(
    windows: TrainingWindows, numbers: WindowNumbers, batch: int, loader_processes: int
) -> Iterator[list[Tensor]]:
    """Yield values (batch, bands, side, side), labels (batch, side, side) and what else there is, step by step."""
    loader: DataLoader[tuple[Tensor, ...]] = DataLoader(
        windows,
        batch_size=batch,
        sampler=numbers,
        num_workers=loader_processes,
        # a fork would share the parent's open GDAL handles and threads
        multiprocessing_context="spawn" if loader_processes else None,
        prefetch_factor=4 if loader_processes else None,
        worker_init_fn=_begin,
    )
    with main_not_imported():
        ahead = iter(loader)
    yield from ahead


def _begin(_number: int) -> None:
    # torch checks every 5 s that the parent lives, but not while finished batches wait to be taken
    end_with_parent()
