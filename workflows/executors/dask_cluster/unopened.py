"""Calls that a scheduler passes on unopened: it needs neither this program nor the libraries that it loads.

Dask's scheduler unpickles what it is sent, which would import torch there; some schedulers run in an image without it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from distributed import Client, Future
from distributed.protocol.pickle import dumps


def submit(client: Client, function: Callable[..., Any], *arguments: Any, **options: Any) -> Future:
    """Submit a call as one value of bytes, with options of `Client.submit`."""

    # inside, so that it travels as code that imports nothing of ours
    def call(data: bytes) -> Any:
        found, values = pickle.loads(data)
        return found(*values)

    return client.submit(call, dumps((function, arguments)), pure=False, **options)
