"""A folder of this machine and the objects of a place: those that stand for its files, and those of runs in work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.durable import make_folder
from segment_tiles.pipeline.models.calibration.calibrated import INT8, copies_of
from segment_tiles.pipeline.outputs.stores import sent_folder
from segment_tiles.pipeline.outputs.stores.seals import Seal, seal_of
from segment_tiles.pipeline.outputs.stores.sent_folder import SentFolder, send_files
from segment_tiles.pipeline.outputs.stores.sent_rows import RowsAddress, fetch_rows
from segment_tiles.pipeline.places.protocol import OBJECTS_AT_ONCE, PART_BYTES, Place
from segment_tiles.workflows.buckets.layout import FILES, OWN_FOLDERS, RECORD, ROWS
from segment_tiles.workflows.plans.record import read_record

log = logging.getLogger(__name__)


class SyncedFolder:
    """Knows what lies in a place, and which files are there as they are here.

    Parameters
    ----------
    place
        Listed now.
    folder
        Of this machine.
    before_put
        Called before each object is written: raises if this process may not.
    """

    def __init__(self, place: Place, folder: Path, before_put: Callable[[], None]) -> None:
        self._place, self._folder, self._before_put = place, folder, before_put
        self._known: dict[str, Seal] = {}
        self.there = place.sizes()
        """Bytes of each object, by key."""

    def key(self, path: Path) -> str:
        """Return the key of a file."""
        return path.relative_to(self._folder).as_posix()

    def files(self) -> dict[str, Path]:
        """Return all files of the folder, by key."""
        return {self.key(path): path for path in sorted(self._folder.rglob("*")) if path.is_file()}

    def is_same(self, key: str) -> bool:
        """Return whether a file is in the place as it is here, as far as this process has brought or put it."""
        known = self._known.get(key)
        return known is not None and known.is_kept(self._folder / key)

    def bring(self, keys: Iterable[str]) -> None:
        """Write objects that are there into the folder.

        Raises
        ------
        PlaceError
            If the place does not answer.
        """

        def fetch(key: str) -> tuple[str, Seal]:
            target = self._folder / key
            make_folder(target.parent)
            self._place.read_file(key, target)
            return key, seal_of(target)

        with ContextPool(OBJECTS_AT_ONCE, thread_name_prefix="fetch") as pool:
            self._known |= dict(pool.map(fetch, [key for key in keys if key in self.there]))

    def put(self, keys: Iterable[str]) -> None:
        """Write files of the folder into the place.

        Raises
        ------
        PlaceError
            If the place does not answer.
        """

        def send(key: str) -> tuple[str, Seal]:
            self._before_put()
            seal = seal_of(self._folder / key)
            if seal.size > PART_BYTES:
                self._place.put_file(key, self._folder / key)
            else:
                self._put_over(key, (self._folder / key).read_bytes())
            return key, seal

        with ContextPool(OBJECTS_AT_ONCE, thread_name_prefix="publish") as pool:
            written = dict(pool.map(send, keys))
        self._known |= written
        self.there |= {key: seal.size for key, seal in written.items()}

    def put_content(self, key: str, content: bytes) -> None:
        """Write an object that is no file of the folder."""
        self._before_put()
        self._put_over(key, content)
        self.there[key] = len(content)

    def _put_over(self, key: str, content: bytes) -> None:
        """Write an object in place of the one that is there, or of none; not over one that was written meanwhile.

        A request of a process that was stopped may arrive when another one has taken over and written the object:
        then it comes to nothing.
        """
        version = self._place.version(key) if key in self.there else None
        while not (
            self._place.put_if_absent(key, content)
            if version is None
            else self._place.replace(key, content, version)
        ):
            found = self._place.read(key)
            if found is not None and found.data == content:
                return  # of this process, whose answer was lost, or the same of another one
            version = None if found is None else found.version
            self._before_put()  # raises if another process has taken over
            log.info(
                "%s was written by a process that held %s before; it is written again", key, self._place.name
            )

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects, those that are there; the files stay."""
        gone = [key for key in keys if key in self.there]
        if gone:
            self._place.delete_all(gone)
        for key in gone:
            self.there.pop(key)
            self._known.pop(key, None)


class WorkObjects:
    """What runs in work have in a place beside their records: finished rows, and files for workers elsewhere.

    Every key has the fingerprint of its run in it, so that by the law "same bytes" all that is ever written under it
    is equal.

    Parameters
    ----------
    address, place
        Of the result.
    folder
        Of this machine, in which it is made.
    before_put
        As of `SyncedFolder`.
    """

    def __init__(self, address: str, place: Place, folder: Path, before_put: Callable[[], None]) -> None:
        self._address, self._place, self._folder, self._before_put = address, place, folder, before_put
        self._sent: dict[tuple[str, Path], SentFolder] = {}

    def rows_of(self, store: Path, ledger: Path) -> RowsAddress:
        """Return where the rows of a store go, in the folder of whose books the record of its run is."""
        return RowsAddress(self._address, f"{ROWS}/{_fingerprint(store.parent)}/{ledger.name}")

    def send(self, name: str, folder: Path, files: Callable[[], Mapping[str, Path]]) -> SentFolder:
        """Send files of a run for workers, unless they are there: a `sent_folder.Send`.

        Raises
        ------
        PlaceError
            If the place does not answer.
        """
        if (name, folder) not in self._sent:
            of_mask, of_run = (self._folder / own for own in reversed(OWN_FOLDERS))
            own = of_mask if folder.is_relative_to(of_mask.parent) else of_run
            prefix = f"{FILES}/{_fingerprint(own)}/{name}"
            checksum = send_files(self._place, prefix, files(), self._before_put)
            self._sent[name, folder] = SentFolder(self._address, prefix, checksum)
        return self._sent[name, folder]

    def sent_calibrated(self, own: Path) -> SentFolder | None:
        """Send the calibrated networks of a run, of which the books are in a folder; None if it has none."""
        return self.send(INT8, own, partial(copies_of, own)) if copies_of(own) else None

    def fetch_rows(self, own: Path) -> None:
        """Bring the finished rows of a run here, of all of its stores; its books are in a folder."""
        record = read_record(own / RECORD)
        if record is not None:
            fetch_rows(self._place, f"{ROWS}/{record.fingerprint}", own)

    def fetch_calibrated(self, own: Path) -> None:
        """Bring the calibrated networks of a run here, with which it goes on."""
        record = read_record(own / RECORD)
        if record is None:
            return
        head = f"{FILES}/{record.fingerprint}/{INT8}/{sent_folder.FILES}"
        for key in self._place.list(head):
            target = own / key.removeprefix(f"{head}/")
            make_folder(target.parent)
            self._place.read_file(key, target)


def _fingerprint(own: Path) -> str:
    record = read_record(own / RECORD)
    assert record is not None, "a run begins with its record"
    return record.fingerprint
