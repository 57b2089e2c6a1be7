"""A place that one command at a time writes into: tried first, held by a lease, and left as it was if nothing began."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final
from uuid import uuid4

from segment_tiles.pipeline.errors import PlaceError
from segment_tiles.pipeline.places.lease import Lease, acquire, require_conditions
from segment_tiles.pipeline.places.protocol import Place

SURE_SECONDS: Final = 2.0
"""So long after it was asked the lease is believed to be held, while objects are written."""


@contextmanager
def held_place(place: Place, key: str, tell: Callable[[str], None]) -> Iterator[Lease]:
    """Hold a place by a lease; one that was not there before and stays alone is removed at the end.

    Parameters
    ----------
    place, key
        Where the object of the lease lies, in a folder of keys.
    tell
        Told in one line if another process has to be waited for.

    Raises
    ------
    PlaceError
        If there is no such bucket, or no right to write into it: tried with an object that is removed again.
    OutputError
        If another process is at work there.
    """
    is_new = place.read(key) is None
    require_conditions(place, f"{key.rpartition('/')[0]}/tried-{uuid4().hex}")
    try:
        with acquire(place, key, tell) as lease:
            yield lease
    finally:
        if is_new:
            _leave_no_trace(place, key)


def _leave_no_trace(place: Place, key: str) -> None:
    """Remove the lease of what was not begun."""
    with suppress(PlaceError):
        if place.list() == [key]:
            place.delete(key)
