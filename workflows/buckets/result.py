"""A result in a bucket, as a folder of this machine that is brought here, worked on, and published whole."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.durable import make_folder
from segment_tiles.pipeline.errors import OutputError, PlaceError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.outputs.stores.seals import Seal, seal_of
from segment_tiles.pipeline.outputs.stores.sent_rows import RowsAddress, fetch_rows
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.places.lease import Lease, acquire
from segment_tiles.pipeline.places.protocol import RESULT_SECONDS, Place, Traffic
from segment_tiles.workflows.buckets.layout import (
    LAST,
    LEASE,
    MARK,
    OWN_FOLDERS,
    RECORD,
    REPORT_KEY,
    ROWS,
    is_made_by_runs,
    is_published,
)
from segment_tiles.workflows.buckets.scratch import scratch_folder
from segment_tiles.workflows.plans.record import read_record
from segment_tiles.workflows.results.item import ITEM

log = logging.getLogger(__name__)

_AT_ONCE: Final = 8
"""Objects that are read or written at the same time."""
_SURE_SECONDS: Final = 2.0
"""So long after it was asked the lease is believed to be held, while objects are written."""


class BucketResult:
    """A result at a URL and the folder in which it is made; made by `opened`.

    Methods that read or write there raise `PlaceError` if the place does not answer.

    Parameters
    ----------
    address, place
        Where it lies.
    folder
        Of this machine, empty.
    lease
        Of this process; None: it only looks.
    """

    def __init__(self, address: str, place: Place, folder: Path, lease: Lease | None) -> None:
        self.address, self.folder = address, folder
        self._place, self._lease = place, lease
        self._there = place.sizes()
        self._known: dict[str, Seal] = {}
        self._has_begun = False
        self._of_workers: list[Traffic] = []
        if self._there and not any(key.startswith(f"{OWN_FOLDERS[0]}/") for key in self._there):
            first = next(iter(self._there))
            msg = f"--out {address}: holds objects that are not of a run ({first}); give a new or empty place"
            raise OutputError(msg)

    @property
    def is_whole(self) -> bool:
        """Whether a run came to its end here."""
        return MARK in self._there

    @property
    def has_begun(self) -> bool:
        """Whether this process has written more than its lease."""
        return self._has_begun

    @property
    def is_lost(self) -> bool:
        """Whether another process is known to have taken over."""
        return self._lease is not None and self._lease.is_lost

    def mark(self) -> dict[str, Any] | None:
        """Return what a run left at its end, if every object that it names is there in its size."""
        found = self._place.read(MARK) if self.is_whole else None
        if found is None:
            return None
        try:
            mark: dict[str, Any] = json.loads(found.data)
            sizes = {key: self._there.get(key) for key in mark["objects"]}
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return mark if sizes == mark["objects"] and (not mark["has item"] or ITEM in self._there) else None

    def fetch(self, is_wanted: Callable[[str], bool] = lambda _key: True) -> None:
        """Bring what is wanted of the result here: if it is not whole, of its records and its `ROWS`."""
        mark = self.mark()
        if mark is not None:
            self._bring(key for key in (*mark["objects"], ITEM) if key in self._there and is_wanted(key))
            return
        records = [f"{own}/{RECORD}" for own in OWN_FOLDERS]
        self._bring(key for key in records if key in self._there and is_wanted(key))
        for own in self._own_folders() if is_wanted(ROWS) else ():
            self.fetch_rows(own)

    def fetch_rows(self, own: Path) -> None:
        """Bring the finished rows of a run here, of all of its stores; its books are in a folder."""
        record = read_record(own / RECORD)
        if record is not None:
            fetch_rows(self._place, f"{ROWS}/{record.fingerprint}", own)

    def begin(self) -> None:
        """Put the records of the runs that begin or go on here into the bucket, before any row is sent.

        Rows of other runs are removed, and what says that a result is whole.

        Raises
        ------
        WriteFailedError
            If another process has taken over.
        """
        self.require()
        records = {own: record for own in self._own_folders() if (record := read_record(own / RECORD))}
        if not self._has_begun:
            kept = tuple(
                f"{ROWS}/{record.fingerprint}/" for own, record in records.items() if self._is_known(own)
            )
            stale = [key for key in self._there if key.startswith(f"{ROWS}/") and not key.startswith(kept)]
            self._remove([*reversed(LAST), *stale])
        self._put(self._key(own / RECORD) for own in records if not self._is_known(own))
        self._has_begun = True

    def rows_of(self, store: Path, ledger: Path) -> RowsAddress:
        """Return where the rows of a store go, in the folder of whose books the record of its run is."""
        record = read_record(store.parent / RECORD)
        assert record is not None
        return RowsAddress(self.address, f"{ROWS}/{record.fingerprint}/{ledger.name}")

    def publish(self, request: Mapping[str, Any]) -> None:
        """Write all that has changed, remove what is no part of the result any more, and say that it is whole.

        Parameters
        ----------
        request
            What was asked for, as the mark keeps it.

        Raises
        ------
        WriteFailedError
            If another process has taken over.
        """
        mark, files = self.mark(), self._files()
        changed = [key for key, path in files.items() if not self._is_same(key, path)]
        before = set(() if mark is None else mark["objects"])
        gone = [key for key in self._there if (key in before or is_made_by_runs(key)) and key not in files]
        if mark is not None and not changed and not gone:
            return
        self.require()
        self._remove(reversed(LAST))
        self._remove(gone)
        self._put(key for key in changed if key not in LAST)
        self.require()
        objects = {key: path.stat().st_size for key, path in files.items() if key not in LAST}
        content = json_text(
            {"request": dict(request), "objects": objects, "has item": ITEM in files}
        ).encode()
        self._place.put(MARK, content)
        self._there[MARK] = len(content)
        self._put(key for key in [ITEM] if key in files)
        self._place.delete_all(self._place.list(ROWS))

    def publish_report(self) -> None:
        """Write the report alone, of a run that parts of failed."""
        self.require()
        self._put([REPORT_KEY])

    def traffic(self) -> dict[str, int]:
        """Return what was asked of the place until now, by this process and by workers."""
        counted = [self._place.traffic, *self._of_workers]
        return {
            "requests": sum(one.requests for one in counted),
            "sent_bytes": sum(one.sent for one in counted),
            "received_bytes": sum(one.received for one in counted),
        }

    def count(self, traffic: Iterable[Traffic]) -> None:
        """Count what workers have asked of the place."""
        self._of_workers += traffic

    def require(self) -> None:
        """Make sure that this process still holds the place.

        Raises
        ------
        WriteFailedError
            If another process has taken over.
        """
        if self._lease is not None:
            self._lease.require()

    def _own_folders(self) -> list[Path]:
        return [self.folder / own for own in OWN_FOLDERS if (self.folder / own).is_dir()]

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _files(self) -> dict[str, Path]:
        """Return what is to be in the bucket, by key."""
        paths = {self._key(path): path for path in sorted(self.folder.rglob("*")) if path.is_file()}
        return {key: path for key, path in paths.items() if is_published(key)}

    def _is_known(self, own: Path) -> bool:
        """Return whether a record is in the bucket as it is here."""
        return self._is_same(self._key(own / RECORD), own / RECORD)

    def _is_same(self, key: str, path: Path) -> bool:
        known = self._known.get(key)
        return known is not None and known.is_kept(path)

    def _bring(self, keys: Iterable[str]) -> None:
        def fetch(key: str) -> tuple[str, Seal]:
            target = self.folder / key
            make_folder(target.parent)
            self._place.read_file(key, target)
            return key, seal_of(target)

        with ContextPool(_AT_ONCE, thread_name_prefix="fetch") as pool:
            self._known |= dict(pool.map(fetch, keys))

    def _put(self, keys: Iterable[str]) -> None:
        def put(key: str) -> tuple[str, Seal]:
            if self._lease is not None:
                self._lease.require(again_after=_SURE_SECONDS)
            path = self.folder / key
            seal = seal_of(path)
            self._place.put_file(key, path)
            return key, seal

        with ContextPool(_AT_ONCE, thread_name_prefix="publish") as pool:
            written = dict(pool.map(put, keys))
        self._known |= written
        self._there |= {key: seal.size for key, seal in written.items()}

    def _remove(self, keys: Iterable[str]) -> None:
        there = [key for key in keys if key in self._there]
        if there:
            self._place.delete_all(there)
        for key in there:
            self._there.pop(key)
            self._known.pop(key, None)


@contextmanager
def opened(address: str, tell: Callable[[str], None], *, only_looks: bool = False) -> Iterator[BucketResult]:
    """Give a result at a URL, held by this process unless it only looks.

    Parameters
    ----------
    address
        URL.
    tell
        Told in one line if another process has to be waited for.
    only_looks
        Nothing is written.

    Raises
    ------
    PlaceError
        If there is no such bucket, or no right to write into it: tried with an object that is removed again.
    OutputError
        If another process is at work there, or it holds other objects.
    """
    place = place_at(address, RESULT_SECONDS)
    with scratch_folder() as folder:
        if only_looks:
            yield BucketResult(address, place, folder, None)
            return
        is_new = place.read(LEASE) is None
        BucketResult(address, place, folder, None)  # refuses other objects before anything is written
        try:
            with acquire(place, LEASE, tell) as lease:
                yield BucketResult(address, place, folder, lease)
        finally:
            if is_new:
                _leave_no_trace(place)


def _leave_no_trace(place: Place) -> None:
    """Remove the lease of a result that was not begun."""
    with suppress(PlaceError):
        if place.list() == [LEASE]:
            place.delete(LEASE)
