"""Threads that know in whose name they work: what they log carries the job and the scene that they work for."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Final, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class ContextPool(ThreadPoolExecutor):
    """A pool of threads in which a call sees the context variables of who submitted it; Python's own do not."""

    def submit(
        self, fn: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Submit a call, as of any pool."""
        return super().submit(partial(copy_context().run, fn, *args, **kwargs))


_idle: Final[defaultdict[str, list[ContextPool]]] = defaultdict(list)
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_idle.clear)  # a fork has no threads but its first


@contextmanager
def kept_thread(name: str) -> Iterator[ContextPool]:
    """Give a pool of one thread, which then waits for the next who asks under this name.

    The first work with a CRS in a thread opens the database of PROJ, which takes longer than the work itself.
    """
    idle = _idle[name]
    try:
        pool = idle.pop()  # in one step, whatever other threads do
    except IndexError:
        pool = ContextPool(1, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.submit(int).result()  # whatever was submitted before is done
        idle.append(pool)
