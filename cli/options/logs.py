"""The log of a command: its options, and what every command logs of its beginning and end."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import typer

from segment_tiles.cli.options.declared import Command, parameter_of, with_parameters
from segment_tiles.pipeline.errors import SegmentTilesError, one_line
from segment_tiles.workflows.logs.output import LogConfig, logging_as
from segment_tiles.workflows.options.declare import options_of
from segment_tiles.workflows.options.keywords import values_of

log = logging.getLogger(__name__)
TOLD = {"told": True}
"""Marks what the command says on stderr by itself."""


def logged(function: Command) -> Command:
    """Give a command the options of the log, after its own."""
    declared = options_of(LogConfig)
    own = list(inspect.signature(function, eval_str=True).parameters.values())

    def command(**values: Any) -> None:
        given = {entry.keyword: values.pop(entry.keyword) for entry in declared}
        with logging_as(LogConfig(**values_of(declared, given))), _begin_and_end():
            function(**values)

    return with_parameters(command, function, [*own, *map(parameter_of, declared)])


@contextmanager
def _begin_and_end() -> Iterator[None]:
    """Log which command begins, and how it ends; an error goes on to who says it to the user."""
    log.info("segment-tiles %s begins: %s", version("segment-tiles"), " ".join(sys.argv[1:]))
    try:
        yield
    except typer.Exit as end:
        log.log(
            logging.ERROR if end.exit_code else logging.INFO, "ends with status %s", end.exit_code, extra=TOLD
        )
        raise
    except KeyboardInterrupt:
        log.warning("interrupted; the same command goes on", extra=TOLD)
        raise
    except SegmentTilesError as error:
        log.error("ends with status %s: %s", error.exit_status, one_line(error), extra=TOLD)
        raise
    except BaseException:
        log.exception("ends with an error that was not foreseen", extra=TOLD)
        raise
    log.info("ends with status 0")
