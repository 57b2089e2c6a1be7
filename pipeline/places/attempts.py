"""Requests to an object store, counted, and tried again until they work or the patience with the store is over.

obstore would try again by itself, but tells nobody how often, and gives up at once when a conditional put gets no
answer: it is not sure whether that may be sent again. Here it may be; who puts on a condition reads what is there.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from obstore import exceptions

from segment_tiles.pipeline.names import without_secrets
from segment_tiles.pipeline.places.protocol import Traffic
from segment_tiles.pipeline.sources.patience import RETRY_SECONDS

log = logging.getLogger(__name__)

LONGEST_WAIT: Final = 8.0
"""Seconds between two attempts at most."""
_STATUS: Final = re.compile(r"status code: (\d{3})")
_PASSES: Final = frozenset({408, 409, 429})
"""Answers that another attempt may not get: too slow, at the same time as another one, too many."""
_SAID: Final = re.compile(
    r"InternalError|SlowDown|NoSuchUpload"
    r"|provider: (?:TransportError|EndpointConnectionError|ConnectTimeoutError|ReadTimeoutError)"
)
"""Errors in an answer that looks well; parts whose end was written, but the answer was lost; no answer about tokens."""
_ANSWERS: Final = "BlobAlreadyExists"
"""How Azure says with status 409 that a put if absent found an object; S3 and Google do with 412."""

Result = TypeVar("Result")


class Attempts:
    """Does the requests to one store, for several threads.

    Once a request was given up, the store is gone: no other one waits for it, each is tried once, until one works.

    Parameters
    ----------
    patience
        Seconds after its begin, or after it last got on, in which a request is tried again.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._traffic = Traffic()
        self._counting = threading.Lock()
        self._is_gone = False

    @property
    def traffic(self) -> Traffic:
        """What was asked until now."""
        return self._traffic

    def count(self, requests: int = 0, retries: int = 0, sent: int = 0, received: int = 0) -> None:
        """Count what was asked."""
        with self._counting:
            self._traffic += Traffic(requests, retries, sent, received)

    def do(
        self,
        request: Callable[[], Result],
        *,
        requests: int = 1,
        sent: int = 0,
        done: Callable[[], int] = lambda: 0,
    ) -> Result:
        """Return what a request gives.

        Parameters
        ----------
        request
            Is called without arguments, and again if it fails with what may pass.
        requests, sent
            What one call of it asks, and bytes.
        done
            How far it is, if it goes on where it broke off.

        Raises
        ------
        BaseError, OSError
            Of obstore, from the last attempt.
        """
        attempt, before, end = 0, done(), time.monotonic() + self._patience
        self.count(requests, sent=sent)
        while True:
            try:
                result = request()
            except (exceptions.BaseError, OSError) as error:
                now = done()
                if now > before:
                    attempt, before, end = 0, now, time.monotonic() + self._patience
                wait = random.uniform(RETRY_SECONDS, min(LONGEST_WAIT, 2**attempt))
                passes = _may_pass(error)
                if not passes or self._is_gone or time.monotonic() + wait > end:
                    self._is_gone = passes
                    raise
                log.info("a request failed, it is sent again in %.1f s: %s", wait, plain(error))
            else:
                self._is_gone = False
                return result
            time.sleep(wait)
            attempt += 1
            self.count(requests, retries=1, sent=sent)


def plain(error: BaseException) -> str:
    """Return what obstore says in one line, without secrets and without what it is made of inside."""
    return " ".join(without_secrets(str(error).partition("Debug source")[0]).split())[:200]


def _may_pass(error: BaseException) -> bool:
    """Return whether another attempt may work: no answer, or one that says so."""
    said = str(error)
    if _ANSWERS in said:
        return False
    if _SAID.search(said):
        return True
    status = _STATUS.search(said)
    if status is None:
        return isinstance(error, exceptions.GenericError) and "HTTP error" in said
    return int(status[1]) >= 500 or int(status[1]) in _PASSES
