"""What Dask workers log comes to the log of the client."""

from __future__ import annotations

import logging
from typing import Any

from distributed import Client
from distributed.diagnostics.plugin import ForwardLoggingPlugin

from segment_tiles.workflows.logs.formats import PACKAGE


def bring_records(client: Client, name: str) -> bool:
    """Let workers, also those that come later, send what they log, if anybody here wants to know; return that.

    Parameters
    ----------
    client
        Of the scheduler.
    name
        Of this start of the program: other clients of the scheduler have records of their own.
    """
    logger = logging.getLogger(PACKAGE)
    if not logger.isEnabledFor(logging.INFO):
        return False
    client.subscribe_topic(_topic(name), _handle)
    client.register_plugin(
        ForwardLoggingPlugin(PACKAGE, logger.getEffectiveLevel(), _topic(name)), name=_topic(name)
    )
    return True


def leave_records(client: Client, name: str) -> None:
    """Let workers that stay send nothing any more."""
    client.unregister_worker_plugin(_topic(name))
    client.unsubscribe_topic(_topic(name))


def _topic(name: str) -> str:
    return f"{name}-log"


def _handle(event: tuple[float, dict[str, Any]]) -> None:
    record = logging.makeLogRecord(event[1])
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
