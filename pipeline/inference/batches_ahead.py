"""Batches on their way through a scorer; they come back in the order in which they went.

::

    at once 1    this thread    batch 0   blend 0   batch 1   blend 1
    at once 2    a thread       batch 0 ------>  batch 2 ------>
                 another one    batch 1 ------>  batch 3 ------>
                 this thread                     blend 0, 1     ...
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

import torch
from torch import Tensor

Batch = TypeVar("Batch")
Score = Callable[[Tensor, Tensor | None], Tensor]


class BatchesAhead(Generic[Batch]):
    """Sends batches through a scorer; a context manager that waits for what is still on its way.

    Parameters
    ----------
    score
        Returns the scores of values and their mask.
    at_once
        Threads that call it; with 1 it is called by the thread that puts the batch.
    """

    def __init__(self, score: Score, at_once: int) -> None:
        self._score, self._at_once = score, at_once
        # threads of torch belong to the thread that calls it, and a new one would have those of the process
        self._pool = (
            ThreadPoolExecutor(at_once, "score", torch.set_num_threads, (torch.get_num_threads(),))
            if at_once > 1
            else None
        )
        self._on_their_way: deque[tuple[Batch, Future[Tensor] | Tensor]] = deque()

    def __enter__(self) -> BatchesAhead[Batch]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def put(self, batch: Batch, values: Tensor, valid: Tensor | None) -> None:
        """Send a batch on its way; `batch` comes back with its scores."""
        if self._pool is None:
            self._on_their_way.append((batch, self._score(values, valid)))
        else:
            self._on_their_way.append((batch, self._pool.submit(self._score, values, valid)))

    def arrived(self) -> Iterator[tuple[Batch, Tensor]]:
        """Yield the oldest batches with their scores, until only as many are on their way as there are threads."""
        return self._first(self._at_once if self._pool is not None else 0)

    def rest(self) -> Iterator[tuple[Batch, Tensor]]:
        """Yield all that are still on their way."""
        return self._first(0)

    def _first(self, left: int) -> Iterator[tuple[Batch, Tensor]]:
        while len(self._on_their_way) > left:
            batch, scores = self._on_their_way.popleft()
            yield batch, scores.result() if isinstance(scores, Future) else scores
