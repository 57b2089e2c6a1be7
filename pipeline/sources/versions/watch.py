"""Looks at a source again and again while it is read, beside the work."""

from __future__ import annotations

import threading
from contextvars import copy_context
from time import monotonic
from typing import Final

from segment_tiles.pipeline.errors import SourceChangedError
from segment_tiles.pipeline.sources.versions.version import KnownVersion, Version

SECONDS_BETWEEN: Final = 5.0
"""From the end of one look to the next."""
COST: Final = 0.02
"""Share of the time that looking may take: a mosaic of thousands of members is looked at less often."""


class SourceWatch:
    """Whether a source has become another; asked as often as one likes, it looks now and then, in a thread of its own.

    Parameters
    ----------
    known
        What it was.
    seconds
        Between two looks.
    """

    def __init__(self, known: KnownVersion, seconds: float = SECONDS_BETWEEN) -> None:
        self._known, self._seconds = known, seconds
        self._due = monotonic() + seconds
        self._thread: threading.Thread | None = None
        self._error: SourceChangedError | None = None
        self.became: Version = None
        """What it was seen to be, if it was another."""

    def has_changed(self) -> bool:
        """Return whether it was seen to be another, without waiting; a source that is gone may come back."""
        if self._error is None and monotonic() >= self._due and not self._is_looking:
            self._thread = threading.Thread(
                target=copy_context().run, args=(self._look,), name="source-watch", daemon=True
            )
            self._thread.start()
        return self._error is not None

    @property
    def _is_looking(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def require_same(self) -> None:
        """Look once more, and refuse a source that is another or was meanwhile.

        Raises
        ------
        SourceChangedError
            As `KnownVersion.require_same`.
        """
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        self._known.require_same()

    def _look(self) -> None:
        begun = monotonic()
        try:
            self._known.require_same(or_gone=True)
        except SourceChangedError as error:
            self.became, self._error = self._known.now(), error
        finally:  # after an error that nobody foresaw too: else the next row would begin the same again
            ended = monotonic()
            self._due = ended + max(self._seconds, (ended - begun) / COST)
