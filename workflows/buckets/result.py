"""A result in a bucket, as a folder of this machine that is brought here, worked on, and published whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.places.lease import Lease
from segment_tiles.pipeline.places.protocol import RESULT_SECONDS, Place, Traffic
from segment_tiles.workflows.buckets.holding import SURE_SECONDS, held_place
from segment_tiles.workflows.buckets.layout import (
    FILES,
    LAST,
    LEASE,
    MARK,
    OWN_FOLDERS,
    RECORD,
    RECORD_KEY,
    REPORT_KEY,
    ROWS,
    SEALS_KEY,
    STORE,
    is_made_by_runs,
    is_of_work,
    is_published,
)
from segment_tiles.workflows.buckets.objects import SyncedFolder, WorkObjects
from segment_tiles.workflows.buckets.scratch import scratch_folder
from segment_tiles.workflows.plans.record import read_record
from segment_tiles.workflows.results.item import ITEM


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
        self._objects = SyncedFolder(place, folder, self._require_soon)
        self.work = WorkObjects(address, place, folder, self._require_soon)
        """Of runs that are not whole yet."""
        self._has_begun = False
        self._of_workers: list[Traffic] = []
        there = self._objects.there
        if there and not any(key.startswith(f"{OWN_FOLDERS[0]}/") for key in there):
            first = next(iter(there))
            msg = f"--out {address}: holds objects that are not of a run ({first}); give a new or empty place"
            raise OutputError(msg)

    @property
    def place(self) -> Place:
        """Where it lies."""
        return self._place

    @property
    def is_whole(self) -> bool:
        """Whether a run came to its end here."""
        return MARK in self._objects.there

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
            sizes = {key: self._objects.there.get(key) for key in mark["objects"]}
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return (
            mark
            if sizes == mark["objects"] and (not mark["has item"] or ITEM in self._objects.there)
            else None
        )

    def fetch(self, is_wanted: Callable[[str], bool] = lambda _key: True) -> None:
        """Bring the result here: if it is whole with all that is wanted of it, else what can be continued.

        That is all that is there if the store is, as after a kill while formats were added; else records and rows.

        Raises
        ------
        PlaceError
            If the place does not answer.
        """
        mark = self.mark()
        if mark is not None:
            self._objects.bring(key for key in (*mark["objects"], ITEM) if is_wanted(key))
            return
        if self._has_store():
            self._objects.bring(key for key in self._objects.there if is_made_by_runs(key) and is_wanted(key))
        else:
            records = [f"{own}/{RECORD}" for own in OWN_FOLDERS]
            self._objects.bring(key for key in records if is_wanted(key))
            for own in self._own_folders() if is_wanted(ROWS) else ():
                self.work.fetch_rows(own)
        for own in self._own_folders() if is_wanted(FILES) else ():
            self.work.fetch_calibrated(own)

    def _has_store(self) -> bool:
        """Return whether every file of the store is there in its size, of the run whose record is there."""
        found = self._place.read(SEALS_KEY) if SEALS_KEY in self._objects.there else None
        if found is None or RECORD_KEY not in self._objects.there:
            return False
        try:
            files = json.loads(found.data)["files"].items()
            return all(self._objects.there.get(f"{STORE}/{name}") == size for name, (size, _) in files)
        except (ValueError, KeyError, TypeError, AttributeError):
            return False

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
            kept = [record.fingerprint for own, record in records.items() if self._is_known(own)]
            stale = [
                key
                for key in self._objects.there
                if is_of_work(key) and not any(is_of_work(key, fingerprint) for fingerprint in kept)
            ]
            older = [key for key in self._objects.there if is_made_by_runs(key)]
            is_new = not self._is_known(self.folder / OWN_FOLDERS[0])
            # as --restart does in a folder; seals of another run would vouch for its store in the name of this one
            self._objects.remove([*reversed(LAST), *stale, *(older if is_new else ())])
        fresh = [own for own in records if not self._is_known(own)]
        for own in fresh:
            self.work.sent_calibrated(own)  # first: a record without them could not be continued elsewhere
        self._objects.put(self._objects.key(own / RECORD) for own in fresh)
        self._has_begun = True

    def publish(self, request: Mapping[str, Any], write_report: Callable[[], None] = lambda: None) -> None:
        """Write all that has changed, remove what is no part of the result any more, and say that it is whole.

        Parameters
        ----------
        request
            What was asked for, as the mark keeps it.
        write_report
            Called when all is written but the report and what says that the result is whole.

        Raises
        ------
        WriteFailedError
            If another process has taken over.
        """
        mark = self.mark()
        files = {key: path for key, path in self._objects.files().items() if is_published(key)}
        changed = [key for key in files if not self._objects.is_same(key)]
        before = set(() if mark is None else mark["objects"])
        gone = [key for key in before if key not in files]
        if mark is not None and not changed and not gone:
            return
        self.require()
        self._has_begun = True
        self._objects.remove(reversed(LAST))
        self._objects.remove(gone)
        self._objects.put(key for key in changed if key not in {*LAST, REPORT_KEY})
        write_report()
        self._objects.put(key for key in [REPORT_KEY] if key in files and not self._objects.is_same(key))
        self.require()
        objects = {key: path.stat().st_size for key, path in files.items() if key not in LAST}
        content = json_text(
            {"request": dict(request), "objects": objects, "has item": ITEM in files}
        ).encode()
        # before it is whole, for nothing asks what a whole result has left; what they hold is in the store by now
        self._place.delete_all(filter(is_of_work, self._place.list(OWN_FOLDERS[0])))
        self._objects.put_content(MARK, content)
        self._objects.put(key for key in [ITEM] if key in files)

    def publish_report(self) -> None:
        """Write the report alone, of a run that parts of failed."""
        self.require()
        self._objects.put([REPORT_KEY])

    def traffic(self) -> dict[str, int]:
        """Return what was asked of the place until now, by this process and by workers."""
        whole = sum(self._of_workers, start=self._place.traffic)
        return {
            "requests": whole.requests,
            "retries": whole.retries,
            "sent_bytes": whole.sent,
            "received_bytes": whole.received,
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

    def _is_known(self, own: Path) -> bool:
        """Return whether a record is in the bucket as it is here."""
        return self._objects.is_same(self._objects.key(own / RECORD))

    def _require_soon(self) -> None:
        if self._lease is not None:
            self._lease.require(again_after=SURE_SECONDS)


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
        BucketResult(address, place, folder, None)  # refuses other objects before anything is written
        with held_place(place, LEASE, tell) as lease:
            yield BucketResult(address, place, folder, lease)
