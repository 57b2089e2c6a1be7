"""A lease: who may write results into a place now, held by a heartbeat, without comparing clocks of machines.

::

    lease.json   {"number": 3, "holder": {...} or null, "beat": 17, "token": "..."}

It is taken by writing it where it is absent, or in place of one that is given back or has expired; the number rises
with each holder. It has expired if an observer saw the same beat for longer than the term, by the observer's own
monotonic clock: a wrong clock breaks nothing. A holder whose beat cannot replace the one before has lost it.
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final
from uuid import uuid4

import psutil

from segment_tiles.pipeline.errors import OutputError, PlaceError, WriteFailedError, one_line
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.places.protocol import Found, Place, Version

log = logging.getLogger(__name__)

TERM_SECONDS = 45.0
"""After which a lease whose beat stands still has expired."""
BEAT_SECONDS = 10.0
"""How often a holder says that it is still there."""
LOOK_SECONDS = 1.0
"""How often who waits for a lease looks again."""
_BOOTED: Final = round(psutil.boot_time())


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What the object says."""

    number: int
    """Of the holder; each one has a higher one than all before."""
    holder: dict[str, Any] | None
    """Process, machine, since when; None: given back."""
    beat: int
    """Rises while the holder is there."""
    token: str
    """Another one in each writing, so that a writer knows its own after a lost answer."""

    @property
    def who(self) -> str:
        """The holder, for people."""
        holder = self.holder or {}
        return f"process {holder.get('process')} on {holder.get('machine')}, since {holder.get('since')}"

    @property
    def is_free(self) -> bool:
        """Whether nobody holds it: it was given back, or its holder was a process of this machine that has ended."""
        holder = self.holder
        if holder is None:
            return True
        if holder.get("machine") != platform.node() or holder.get("booted") != _BOOTED:
            return False
        try:
            return bool(psutil.Process(holder["process"]).create_time() != holder.get("started"))
        except (psutil.NoSuchProcess, TypeError, ValueError):
            return True
        except psutil.AccessDenied:
            return False


class Lease:
    """A lease that is held; a context manager that gives it back.

    Parameters
    ----------
    place, key
        Where its object is.
    record, version
        As this process wrote it.
    """

    def __init__(self, place: Place, key: str, record: LeaseRecord, version: Version) -> None:
        self._place, self._key, self._record, self._version = place, key, record, version
        self._changing = threading.Lock()
        self._lost: str | None = None
        self._asked = -math.inf
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        with self._changing:
            if self._lost is None:
                try:
                    self._write(replace(self._record, holder=None))
                except PlaceError as failure:  # it expires by itself
                    log.warning("the lease could not be given back: %s", one_line(failure))

    @property
    def number(self) -> int:
        """Rises with each holder."""
        return self._record.number

    @property
    def is_lost(self) -> bool:
        """Whether another process is known to have it."""
        return self._lost is not None

    def require(self, again_after: float = 0.0) -> None:
        """Make sure that this process still holds it.

        Parameters
        ----------
        again_after
            Seconds for which an answer is believed; the clock goes on while the process stands still.

        Raises
        ------
        WriteFailedError
            If another process has it, or it was removed.
        PlaceError
            If the place does not answer.
        """
        with self._changing:
            if self._lost is None and time.monotonic() - self._asked >= again_after:
                asked = time.monotonic()
                self._write(replace(self._record, beat=self._record.beat + 1))
                self._asked = asked
            if self._lost is not None:
                msg = (
                    f"--out {self._place.name}: this process stood still and {self._lost} meanwhile; nothing more is "
                    "written by this one: wait for the other one, or start the same command again"
                )
                raise WriteFailedError(msg)

    def _beat_on(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            try:
                self.require()
            except PlaceError as error:  # a network that is away; the next beat counts
                log.warning("the lease could not be renewed: %s", one_line(error))
            except WriteFailedError as error:
                log.error("%s", one_line(error))
                return

    def _write(self, record: LeaseRecord) -> None:
        """Replace the object by a record of this holder; notes if another one has it."""
        record = replace(record, token=uuid4().hex)
        while self._lost is None:
            self._place.replace(self._key, _bytes(record), self._version)
            # read back whatever the answer: one that was lost says nothing
            found = self._place.read(self._key)
            if found is None:
                self._lost = "its lease was removed"
                return
            now = _record(found, self._place)
            if now.number != self._record.number:
                self._lost = f"{now.who} took over"
                return
            # of this holder, if perhaps of a writing before, whose answer did not come
            self._record, self._version = now, found.version
            if now.token == record.token:
                return


def acquire(place: Place, key: str, tell: Callable[[str], None]) -> Lease:
    """Return a lease that this process holds, once who had it before has given it back or is gone.

    Parameters
    ----------
    place, key
        Where its object is.
    tell
        Told in one line if it has to be waited for.

    Raises
    ------
    OutputError
        If another process holds it and is at work; that takes a few seconds to see.
    PlaceError
        If the place does not answer or does not let us write.
    """
    seen: LeaseRecord | None = None
    since = 0.0
    while True:
        found = place.read(key)
        record = None if found is None else _record(found, place)
        if record is None or record.is_free or _has_expired(record, seen, since):
            taken = _taken(place, key, record, found)
            if taken is not None:
                return taken
            continue
        if seen is None or record.number != seen.number:
            tell(f"{place.name}: {record.who} holds it; looking whether that process is still there")
            seen, since = record, time.monotonic()
        elif record.beat != seen.beat:
            msg = f"--out {place.name}: {record.who} is at work here; wait for it or give another --out"
            raise OutputError(msg)
        time.sleep(LOOK_SECONDS)


def require_conditions(place: Place, key: str) -> None:
    """Refuse a place that takes no conditional puts, or does not heed them: a lease there would hold nobody off.

    Parameters
    ----------
    place
        Tried with an object that is removed again.
    key
        Of that object; nothing is there.

    Raises
    ------
    PlaceError
        If it does not heed them, or lets this process not write.
    """
    try:
        place.put_if_absent(key, b"")  # whose answer may be lost, and asked for again
        heeds = not place.put_if_absent(key, b"again")
        found = place.read(key)
        if found is not None:
            place.replace(key, b"new", found.version)
            heeds = heeds and not place.replace(key, b"newer", found.version)
        after = place.read(key)
        heeds = heeds and after is not None and after.data == b"new"
    finally:
        place.delete(key)
    if not heeds:
        msg = (
            f"{place.name}: the store does not heed conditional puts (If-None-Match, If-Match), so that two commands "
            "could write one result; use a store that does, or give a folder as --out"
        )
        raise PlaceError(msg)


def _has_expired(record: LeaseRecord, seen: LeaseRecord | None, since: float) -> bool:
    return record == seen and time.monotonic() - since > TERM_SECONDS


def _taken(place: Place, key: str, before: LeaseRecord | None, found: Found | None) -> Lease | None:
    """Take a lease that is free; None if another process was quicker."""
    own = LeaseRecord(1 if before is None else before.number + 1, _this_process(), 0, uuid4().hex)
    if found is None:
        place.put_if_absent(key, _bytes(own))
    else:
        place.replace(key, _bytes(own), found.version)
    now = place.read(key)
    if now is None:
        return None
    record = _record(now, place)
    return Lease(place, key, record, now.version) if record.token == own.token else None


def _this_process() -> dict[str, Any]:
    return {
        "process": os.getpid(),
        "machine": platform.node(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "started": psutil.Process().create_time(),
        "booted": _BOOTED,
    }


def _bytes(record: LeaseRecord) -> bytes:
    return json_text(asdict(record), indent=None).encode()


def _record(found: Found, place: Place) -> LeaseRecord:
    try:
        return LeaseRecord(**json.loads(found.data))
    except (ValueError, TypeError) as error:
        msg = (
            f"{place.name}: its lease is not one of this program ({one_line(error)}); is it a result? "
            "give another --out, or remove the object"
        )
        raise PlaceError(msg) from error
