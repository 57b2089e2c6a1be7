"""Log records without secrets: libraries log URLs, and errors that name them, as they got them."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from segment_tiles.pipeline.names import without_secrets


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
