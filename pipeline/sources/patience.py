"""How long a server is waited for: away for some seconds, it is survived; away for longer, the read fails.

::

    read fails --0.5 s--> again --1 s--> again --2 s--> ...    until it works, or until PATIENCE_SECONDS after the
                                                               first failure; then the source is lost: no read of
                                                               it waits again

Without the last, each row of a large raster would wait anew for a server that is gone. A request that gets no answer
is ended by the settings below; a slow but steady download is not.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from segment_tiles.pipeline.sources.damage import said

log = logging.getLogger(__name__)

LOCAL_ATTEMPTS: Final = 3
"""How often something on a disk is tried: network file systems have their moments."""
REMOTE_ATTEMPTS: Final = 5
"""How often something behind a server is tried, if its time is not up before."""
PATIENCE_SECONDS = 15.0
"""So long after the first failure of a read no further attempt is begun."""
RETRY_SECONDS = 0.5
"""Wait before the second attempt; doubled before each further one."""
SILENCE_SECONDS: Final = 8
"""A connection that is not there after so long, or gives less than a trickle for so long, is ended."""

HTTP_SETTINGS: Final[Mapping[str, Any]] = {
    "GDAL_HTTP_CONNECTTIMEOUT": SILENCE_SECONDS,
    "GDAL_HTTP_LOW_SPEED_TIME": SILENCE_SECONDS,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 100,  # bytes per second
    "GDAL_HTTP_MAX_RETRY": 2,
    "GDAL_HTTP_RETRY_DELAY": 1,
}
"""GDAL's options for whatever may be remote, unless the environment sets them. GDAL itself waits without an end."""
NOT_KEPT: Final[Mapping[str, Any]] = {
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/:/vsiadls/:/vsioss/:/vsiswift/"
}
"""GDAL's option of remote files of which it forgets all when one is closed: ranges, and that it could not be opened."""

Result = TypeVar("Result")


def http_settings() -> Mapping[str, Any]:
    """Return `HTTP_SETTINGS` without those that the user has set for GDAL in the environment."""
    return {name: value for name, value in HTTP_SETTINGS.items() if name not in os.environ}


class GaveUpError(Exception):
    """A read failed for good; the last error is its cause."""

    def __init__(self, last: Exception, attempts: int) -> None:
        super().__init__(last, attempts)
        self.last = last

    @property
    def summary(self) -> str:
        """How often it was tried, and what was said at last."""
        times = "once" if self.args[1] == 1 else f"{self.args[1]} times"
        return f"tried {times}: {said(self.last)}"


class Patience:
    """Tries reads of one source again, as long as that makes sense.

    Parameters
    ----------
    attempts
        How often a read is tried at most.
    errors
        What a read raises that may be over at the next attempt.
    """

    def __init__(self, attempts: int, errors: tuple[type[Exception], ...]) -> None:
        self._attempts, self._errors = attempts, errors
        self._lost: GaveUpError | None = None

    def read(self, read: Callable[[], Result]) -> Result:
        """Return what a read gives, tried until the patience is at its end.

        Parameters
        ----------
        read
            Is called without arguments.

        Raises
        ------
        GaveUpError
            With the last of ``errors``; at once if the source was lost before.
        """
        if self._lost is not None:
            raise GaveUpError(*self._lost.args)
        end = math.inf
        for attempt in range(self._attempts):
            try:
                return read()
            except self._errors as error:
                last = GaveUpError(error, attempt + 1)
            wait, now = RETRY_SECONDS * 2**attempt, time.monotonic()
            end = min(end, now + PATIENCE_SECONDS)
            if (
                attempt + 1 == self._attempts
            ):  # at once each time: the server is there, and this part of it damaged
                break
            if now + wait > end:
                self._lost = last
                log.warning("the source is given up, no read of it waits again: %s", last.summary)
                break
            log.warning(
                "a read failed, attempt %d of %d, it is tried again in %.1f s: %s",
                attempt + 1, self._attempts, wait, said(last.last),
                extra={"attempt": attempt + 1, "reason": said(last.last)},
            )  # fmt: skip
            time.sleep(wait)
        raise last from last.last
