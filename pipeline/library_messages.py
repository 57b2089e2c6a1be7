"""What libraries say: kept off the terminal, without secrets in a log, and the same in every thread.

Python's filters of warnings belong to the process, not to a thread: two threads that each change and restore them leave
those of one for good. So what is never worth saying is filtered once, when the package is imported, and the few callers
that must change filters for a moment take turns.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from segment_tiles.pipeline.names import without_secrets

NEVER_SAID: Final = (
    "Dataset has no geotransform",  # a picture without georeference is a legal input, and a legal result
    "Glyph .* missing from",  # a name in a script that the font lacks is drawn as boxes
)
"""Beginnings of warnings, as patterns, that tell the user of this program nothing."""
OWN_HANDLERS: Final = ("nibabel.global",)
"""Loggers to which a library gives a handler of its own, which writes to the terminal."""
LOST_MESSAGE: Final = "rasterio._env.log_error"
"""Where rasterio fails to log a message of GDAL that quotes bytes of a file which are no text.

The error itself is raised all the same, to whoever reads the file.
"""
ONNX_RUNTIME_ERRORS: Final = 3
"""Severity from which ONNX Runtime writes to the terminal: it warns of initializers that nothing uses."""
_turn = threading.RLock()


def filter_warnings() -> None:
    """Leave out what is never said, in every thread; nothing else changes for a program that uses this library."""
    for message in NEVER_SAID:
        warnings.filterwarnings("ignore", message=message)


def silence_libraries() -> None:
    """Keep warnings and logs of libraries off the terminal of a command or a worker.

    What matters of them is told in our words. ``python -W`` and ``PYTHONWARNINGS`` bring the warnings back.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # Python prints records that no handler wants, from warnings on
    logging.getLogger().addHandler(logging.NullHandler())
    for name in OWN_HANDLERS:
        logging.getLogger(name).addFilter(_reject)
    leave_out_lost_messages()
    # what GDAL and PROJ say outside of rasterio and pyogrio, which turn it into errors
    os.environ.setdefault("CPL_LOG", os.devnull)


def leave_out_lost_messages() -> None:
    """Let Python print nothing about a message of GDAL that is no text."""
    unraisable, uncaught = sys.unraisablehook, sys.excepthook

    def say(found: sys.UnraisableHookArgs) -> None:
        if found.exc_type is not UnicodeDecodeError or found.object != LOST_MESSAGE:
            unraisable(found)

    def say_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        # compiled code reports the same error here first; what ends a program has a trace
        if kind is not UnicodeDecodeError or trace is not None:
            uncaught(kind, error, trace)

    sys.unraisablehook, sys.excepthook = say, say_uncaught


def _reject(_record: logging.LogRecord) -> bool:
    return False


@contextmanager
def recorded_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Give a list that holds, after this, the warnings that came inside; one thread at a time."""
    with _turn, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for message in NEVER_SAID:
            warnings.filterwarnings("ignore", message=message)
        yield said


@contextmanager
def ignored_warnings() -> Iterator[None]:
    """Leave out all warnings inside, such as advice to authors of exporters; one thread at a time."""
    with _turn, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def clean_log_records() -> None:
    """Let every record of this process, of whatever logger, be without secrets; a second call changes nothing."""
    make = logging.getLogRecordFactory()
    if not isinstance(make, _Cleaned):
        logging.setLogRecordFactory(_Cleaned(make))


class _Cleaned:
    """Makes log records as another factory does, without secrets."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *arguments: Any, **named: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._make(*arguments, **named)
        try:
            said = record.getMessage()
        except (TypeError, ValueError):
            return record  # logging itself says that the arguments do not fit
        clean = without_secrets(said)
        if clean != said:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[1] is not None:
            trace = "".join(traceback.format_exception(record.exc_info[1])).rstrip()
            if (clean := without_secrets(trace)) != trace:
                record.exc_text, record.exc_info = clean, None
        return record
