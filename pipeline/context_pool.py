"""Threads that know in whose name they work: what they log carries the job and the scene that they work for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class ContextPool(ThreadPoolExecutor):
    """A pool of threads in which a call sees the context variables of who submitted it; Python's own do not."""

    def submit(
        self, fn: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Submit a call, as of any pool."""
        return super().submit(partial(copy_context().run, fn, *args, **kwargs))
