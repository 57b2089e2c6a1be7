"""Where the log of a command goes: stderr, a file, or both; nothing unless it is asked for."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, Final, TextIO

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.workflows.logs.formats import FORMATS, PACKAGE, JsonFormatter, TextFormatter
from segment_tiles.workflows.options.declare import check_choices, one_of, option


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The log of one command, as asked for.

    Raises
    ------
    UsageError
        If the format is none, or there is no log to have it.
    """

    verbose: int = option(
        "Log what is done and why on stderr; twice: in detail.", short="v", default=0, is_counted=True
    )
    log_file: Path | None = option(
        "Log into a file too, after what it holds; -vv: in detail.", default=None, metavar="FILE"
    )
    log_format: str = option(
        f"Lines of the log: {one_of(FORMATS)}.", default="text", metavar="|".join(FORMATS), choices=FORMATS
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if self.log_format != "text" and not self.is_wanted:
            msg = f"--log-format is {self.log_format}, but nothing is logged; add --log-file FILE, or -v"
            raise UsageError(msg)

    @property
    def is_wanted(self) -> bool:
        """Whether there is a log at all."""
        return self.verbose > 0 or self.log_file is not None

    @property
    def level(self) -> int:
        """What is logged."""
        return logging.DEBUG if self.verbose > 1 else logging.INFO


_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/")
VARIABLE: Final = "SEGMENT_TILES_LOG"
"""Holds the log of a command for the processes that it starts and that are no Dask workers."""


def logging_of_parent() -> AbstractContextManager[None]:
    """Log as the process does that started this one, if it said how in the environment."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return nullcontext()
    said = json.loads(text)
    file = None if said["log_file"] is None else Path(said["log_file"])
    return logging_as(LogConfig(said["verbose"], file, said["log_format"]))


@contextmanager
def logging_as(config: LogConfig) -> Iterator[None]:
    """Log what this program does inside; what libraries say stays out, for it may hold secrets.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    terminal, formatter = _Terminal(sys.stderr), _formatter(config.log_format)
    handlers: list[logging.Handler] = [terminal]
    if config.log_file is not None:
        handlers.append(_file(config.log_file))
    logger = logging.getLogger(PACKAGE)
    before, passes_on = logger.level, logger.propagate
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    if not config.verbose:
        terminal.setLevel(logging.WARNING)
        terminal.setFormatter(_Warning())
    # a library such as Prefect gives the root logger handlers of its own, which would say everything twice
    logger.propagate = False
    own = os.environ.get(VARIABLE)
    if config.is_wanted:
        logger.setLevel(config.level)
        os.environ[VARIABLE] = json_text(_as_text(config), indent=None)
    try:
        yield
    finally:
        _restore(own)
        logger.setLevel(before)
        logger.propagate = passes_on
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def _as_text(config: LogConfig) -> dict[str, Any]:
    file = None if config.log_file is None else str(config.log_file.absolute())
    return {"verbose": config.verbose, "log_file": file, "log_format": config.log_format}


def _restore(variable: str | None) -> None:
    if variable is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = variable


def logs_to_terminal() -> bool:
    """Return whether lines of the log are on stderr, where a bar of progress would be in their way."""
    handlers = logging.getLogger(PACKAGE).handlers
    return any(isinstance(handler, _Terminal) and handler.level < logging.WARNING for handler in handlers)


def _formatter(name: str) -> logging.Formatter:
    return JsonFormatter() if name == "json" else TextFormatter()


def _file(path: Path) -> logging.Handler:
    if _SCHEME.match(str(path)):  # a path has lost one of the two slashes
        msg = f"--log-file {path}: is a URL; give a file on a disk"
        raise UsageError(msg)
    try:
        return _File(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        msg = f"--log-file {path}: cannot be written ({error.strerror}); give a file in a folder that exists"
        raise UsageError(msg) from error


class _Warning(logging.Formatter):
    """A line as every warning of a command looks, without a trace: for those who asked for no log."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        return f"segment-tiles: warning: {' '.join(record.getMessage().split())}"


class _Terminal(logging.StreamHandler[TextIO]):
    """Writes to stderr what the command does not say there itself."""

    def filter(self, record: logging.LogRecord) -> Any:
        """Leave out what is marked as told."""
        return not getattr(record, "told", False) and super().filter(record)


class _File(WatchedFileHandler):
    """Goes on in a new file where logrotate has moved the old one; a disk that is full ends the log, not the run."""

    _is_broken = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, unless an earlier one could not be written."""
        if not self._is_broken:
            super().emit(record)

    def close(self) -> None:
        """Close the file; what did not fit the disk was told."""
        with suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as logging has it
        """Say once why there is no log any more."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._is_broken = True
        text = f"--log-file {self.baseFilename}: cannot be written ({error.strerror}); the log ends here"
        print(f"segment-tiles: warning: {text}", file=sys.stderr)  # noqa: T201 - there is no log to say it in
