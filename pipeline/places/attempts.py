"""Requests to an object store, counted, and tried again until they work or the patience with the store is over.

tenacity waits and tries again. obstore would do so by itself, but tells nobody how often, and gives up at once when a
conditional put gets no answer: it is not sure whether that may be sent again. Here it may be; who puts on a condition
reads what is there.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from obstore import exceptions
from tenacity import (
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception,
    stop_before_delay,
    wait_random_exponential,
)

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
        Seconds after its begin in which a request is tried again.
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

    def do(self, request: Callable[[], Result], *, requests: int = 1, sent: int = 0) -> Result:
        """Return what a request gives.

        Parameters
        ----------
        request
            Is called without arguments, and again if it fails with what may pass.
        requests, sent
            What one call of it asks, and bytes.

        Raises
        ------
        BaseError, OSError
            Of obstore, from the last attempt.
        """
        attempts = Retrying(
            retry=retry_if_exception(may_pass),
            wait=wait_random_exponential(min=RETRY_SECONDS, max=LONGEST_WAIT),
            stop=self._gives_up,
            before=lambda state: self.count(requests, retries=int(state.attempt_number > 1), sent=sent),
            before_sleep=_tell,
        )
        try:
            result = attempts(request)
        except RetryError as error:
            self._is_gone = True
            error.reraise()
        except (exceptions.BaseError, OSError):  # it answers
            self._is_gone = False
            raise
        self._is_gone = False
        return result

    def _gives_up(self, state: RetryCallState) -> bool:
        return self._is_gone or stop_before_delay(self._patience)(state)


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    log.info("a request failed, it is sent again in %.1f s: %s", state.upcoming_sleep, plain(error))


def plain(error: BaseException | None) -> str:
    """Return what obstore says in one line, without secrets and without what it is made of inside."""
    return " ".join(without_secrets(str(error).partition("Debug source")[0]).split())[:200]


def may_pass(error: BaseException) -> bool:
    """Return whether another attempt may work: no answer, or one that says so."""
    if not isinstance(error, (exceptions.BaseError, OSError)):
        return False
    said = str(error)
    if _ANSWERS in said:
        return False
    if _SAID.search(said):
        return True
    status = _STATUS.search(said)
    if status is None:
        return isinstance(error, exceptions.GenericError) and "HTTP error" in said
    return int(status[1]) >= 500 or int(status[1]) in _PASSES
