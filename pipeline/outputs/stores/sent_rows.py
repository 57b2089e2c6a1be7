"""Finished rows of shards as objects of a place: how workers that see no common disk hand on what they have done.

::

    PREFIX/ledger/row-0000007-columns-00000-00008.zip    classes.zarr/classes/c/7/0 ...  the shards, as Zarr wrote them
                                                         ledger/row-0000007-columns-...  what the ledger says of them

One object has all of a row, so that it is there whole or not at all, by one request. It is written only if it is
absent: of one run, which ``PREFIX`` names by its fingerprint, everybody writes the same bytes.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segment_tiles.pipeline.errors import PlaceError, WriteFailedError, one_line
from segment_tiles.pipeline.outputs.stores.ledger import Ledger, LedgerEntry
from segment_tiles.pipeline.outputs.stores.packed_files import fetch_packed, packed
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.places.protocol import RESULT_SECONDS, Place, Traffic

log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"row-(?P<row>\d+)-columns-(?P<first>\d+)-(?P<last>\d+)\.zip")
_ENDING: Final = ".zip"


@dataclass(frozen=True, slots=True)
class RowsAddress:
    """Where the rows of one store of a run go, as plain values that travel to any worker."""

    address: str
    """Of the result."""
    prefix: str
    """Key of the folder of the rows: fingerprint of the run, and name of the folder of the ledger."""

    def place(self) -> Place:
        """Return the place, which is waited for as long as results are."""
        return place_at(self.address, RESULT_SECONDS)


class SentLedger(Ledger):
    """A ledger on the disk of a worker, whose rows are also objects before they count.

    Parameters
    ----------
    folder
        Of its rows on this disk.
    store
        Store on this disk that the rows are written into.
    rows
        Where they go.
    keeps
        Whether the shards stay on this disk: it is that of the run.
    """

    def __init__(self, folder: Path, store: Path, rows: RowsAddress, *, keeps: bool) -> None:
        super().__init__(folder)
        self._store, self._rows, self._keeps = store, rows, keeps
        self._place = rows.place()

    @property
    def traffic(self) -> Traffic:
        """What was asked of the place."""
        return self._place.traffic

    def mark(self, entry: LedgerEntry, thumbnail: bytes | None = None) -> None:
        """Record a row, and send it; only then it counts.

        Raises
        ------
        WriteFailedError
            If the place does not take it.
        """
        super().mark(entry, thumbnail)
        shards = [self._store / name for name, seal in entry.shards.items() if seal is not None]
        books = [
            self.folder / entry.name,
            *([] if thumbnail is None else [self.folder / entry.thumbnail_name]),
        ]
        key = f"{self._rows.prefix}/{_object_name(entry)}"
        try:
            if not self._place.put_if_absent(key, packed([*shards, *books], self._store.parent)):
                log.info(
                    "%s is there already: the worker that wrote it had no answer, or is another one", key
                )
        except PlaceError as error:
            msg = f"{one_line(error)}; finished rows are kept: start the same command again"
            raise WriteFailedError(msg) from error
        for path in () if self._keeps else shards:
            path.unlink()

    def shards(self) -> set[tuple[int, int]]:
        """Return the finished shards by (shard row, shard column), whoever has done them: names are enough."""
        found = map(_NAME.fullmatch, (key.rsplit("/", 1)[-1] for key in self._place.list(self._rows.prefix)))
        rows = [tuple(map(int, match.group("row", "first", "last"))) for match in found if match]
        return {(row, column) for row, first, last in rows for column in range(first, last)}


def fetch_rows(place: Place, prefix: str, folder: Path, rows: range | None = None) -> None:
    """Bring all rows below a prefix onto this disk that are not there; one that is damaged is removed, to be computed.

    Parameters
    ----------
    place, prefix
        Where they are.
    folder
        Holds the store and the ledger.
    rows
        Of shards that are wanted; None: all.

    Raises
    ------
    PlaceError
        If the place does not answer.
    """
    found = {key: _NAME.fullmatch(key.rsplit("/", 1)[-1]) for key in place.list(prefix)}
    missing = [
        key
        for key, match in found.items()
        if match and (rows is None or int(match["row"]) in rows) and not _is_here(key, folder)
    ]
    fetch_packed(place, missing, folder)


def _is_here(key: str, folder: Path) -> bool:
    ledger, name = key.split("/")[-2:]
    return (folder / ledger / f"{name.removesuffix(_ENDING)}.json").is_file()


def _object_name(entry: LedgerEntry) -> str:
    return entry.name.removesuffix(".json") + _ENDING
