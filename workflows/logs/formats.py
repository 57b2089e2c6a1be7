"""A line of the log, as text or as JSON; without secrets, whatever a record brings."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.names import without_secrets
from segment_tiles.workflows.logs.context import names_of

FORMATS: Final = ("text", "json")
PACKAGE: Final = "segment_tiles"
"""Logger above those of all our modules."""
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message", "asctime", "taskName", "told", "names",
}  # fmt: skip
"""What every record has; the rest was given by ``extra``."""


class TextFormatter(logging.Formatter):
    """``2026-01-31T03:00:00.125Z INFO workflows.run.segment [job night/a] text``; further lines are indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and below it the traceback if it has one."""
        names = " ".join(f"{key} {value}" for key, value in names_of(record).items())
        head = f"{_time(record)} {record.levelname} {record.name.removeprefix(f'{PACKAGE}.')}"
        lines = [f"{head}{f' [{names}]' if names else ''} {' '.join(record.getMessage().split())}"]
        lines += [f"    {line}" for line in _trace(self, record).splitlines()]
        return without_secrets("\n".join(lines))


class JsonFormatter(logging.Formatter):
    """One JSON document in a line: time, level, logger, process, message; job, scene, error if there are some."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **names_of(record),
            **extra,
        }
        if trace := _trace(self, record):
            line["error"] = trace
        return json_text({key: _clean(value) for key, value in line.items()}, indent=None)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z"


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if record.exc_info and not record.exc_text:
        record.exc_text = formatter.formatException(record.exc_info)
    return record.exc_text or ""


def _clean(value: Any) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _clean(entry) for key, entry in value.items()}
    return without_secrets(str(value))
