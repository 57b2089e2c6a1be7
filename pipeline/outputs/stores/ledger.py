"""Ledger: which rows of shards are finished, as one small file each.

A row is written after its shards are on the disk, and is itself on the disk before anything relies on it: so a kill
or a power cut loses the rows in work and nothing else, and workers need no lock. It says what its shards must be
(size and checksum) and carries a checksum of its own: what a disk damaged is noticed, and computed again.

Beside a row may lie its piece of the thumbnail of the source (``.thumbnail``), written before it and sealed in it: the
picture of a run needs no second look at the source. A piece that is lost or damaged costs that look, and no row.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from segment_tiles.pipeline.durable import make_folder, remove, write_whole
from segment_tiles.pipeline.errors import WriteFailedError, one_line
from segment_tiles.pipeline.outputs.stores.seals import Seal, kept, read_sealed, write_sealed

log = logging.getLogger(__name__)

THUMBNAIL: Final = ".thumbnail"
"""Ending of the pieces of a thumbnail."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One row of shards that is on disk."""

    shard_row: int
    """Index of the row of shards."""
    shard_columns: tuple[int, int]
    """Half-open interval of shard columns that were written."""
    counts: tuple[tuple[int, ...], ...]
    """Per shard column: pixels of each class, and of nodata last."""
    not_finite: tuple[int, ...] = ()
    """Per shard column: pixels of nodata whose scores are NaN; empty if there are none."""
    shards: Mapping[str, Seal | None] = field(default_factory=dict)
    """Of every array: files of the row by their path in the store; None: no file, since all of it is fill value."""
    thumbnail: Seal | None = None
    """Of the piece of the thumbnail beside it; None: there is none."""

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self._stem}.json"

    @property
    def thumbnail_name(self) -> str:
        """Name of the piece of the thumbnail."""
        return f"{self._stem}{THUMBNAIL}"

    @property
    def _stem(self) -> str:
        first, last = self.shard_columns
        return f"row-{self.shard_row:07d}-columns-{first:05d}-{last:05d}"


class Ledger:
    """The finished rows of a run, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self._folder

    def mark(self, entry: LedgerEntry, thumbnail: bytes | None = None) -> None:
        """Record that the shards of an entry are on disk, after its piece of the thumbnail, if it has one.

        Raises
        ------
        WriteFailedError
            If the record cannot be written.
        """
        target = self._folder / entry.name
        seal = None if thumbnail is None else Seal(len(thumbnail), zlib.crc32(thumbnail))
        fields = {
            "shard_row": entry.shard_row,
            "shard_columns": list(entry.shard_columns),
            "counts": [list(counts) for counts in entry.counts],
            "not_finite": list(entry.not_finite),
            "shards": {name: _plain(shard) for name, shard in entry.shards.items()},
            "thumbnail": _plain(seal),
        }
        try:
            make_folder(self._folder)
            if thumbnail is not None:
                write_whole(self._folder / entry.thumbnail_name, thumbnail)
            write_sealed(target, fields)
        except OSError as error:
            msg = (
                f"{target}: cannot be written ({one_line(error)}); free the disk, then start the same command"
            )
            raise WriteFailedError(msg) from error

    def entries(self, but: Container[str] = ()) -> Iterator[LedgerEntry]:
        """Yield every finished row, in order, but those of these names; an empty or damaged file is no row."""
        for path in sorted(self._folder.glob("row-*.json")):
            if path.name in but:
                continue
            entry = _read(path)
            if entry is None:
                log.warning("%s is damaged: what it recorded is computed again", path)
            else:
                yield entry

    def finished(self) -> dict[tuple[int, int], tuple[int, ...]]:
        """Return the counts of every finished shard by (shard row, shard column).

        Rows that were done twice, under two layouts of Regions, have the same counts.
        """
        shards: dict[tuple[int, int], tuple[int, ...]] = {}
        for entry in self.entries():
            for column, counts in zip(range(*entry.shard_columns), entry.counts, strict=True):
                shards[entry.shard_row, column] = counts
        return shards

    def shards(self) -> set[tuple[int, int]]:
        """Return the finished shards by (shard row, shard column)."""
        return set(self.finished())

    def not_finite(self) -> int:
        """Return the pixels that are nodata because their scores are NaN."""
        shards: dict[tuple[int, int], int] = {}
        for entry in self.entries():
            first, last = entry.shard_columns
            for column, count in zip(range(first, last), entry.not_finite, strict=False):
                shards[entry.shard_row, column] = count
        return sum(shards.values())

    def thumbnails(self) -> Iterator[tuple[LedgerEntry, bytes]]:
        """Yield the rows whose piece of the thumbnail is what was written, and the piece."""
        for entry in self.entries():
            path = self._folder / entry.thumbnail_name
            if entry.thumbnail is not None and entry.thumbnail.is_kept(path):
                yield entry, path.read_bytes()

    def forget_thumbnails(self) -> None:
        """Remove all pieces of the thumbnail: nothing needs them any more."""
        for path in self._folder.glob(f"row-*{THUMBNAIL}"):
            path.unlink()

    def forget(self) -> bool:
        """Forget every row; return whether there was one."""
        had_rows = any(self._folder.glob("row-*.json"))
        remove(self._folder)
        return had_rows

    def keep_what_is_sound(self, store: Path) -> int:
        """Forget the rows of which a file in the store is not what it was, and return their number.

        No other process may be at work. Every byte is read: first all sizes are compared, then the checksums of what
        is left, in several threads.
        """
        entries = list(self.entries())
        whole = {entry.name for entry in entries if _has_sizes(entry, store)}
        pairs = [
            (entry.name, seal, store / name)
            for entry in entries
            if entry.name in whole
            for name, seal in entry.shards.items()
            if seal is not None
        ]
        for (row, _, path), sound in zip(pairs, kept((seal, path) for _, seal, path in pairs), strict=True):
            if not sound:
                log.warning("%s is not what was written: it is computed again", path)
                whole.discard(row)
        gone = [path for path in self._folder.glob("row-*.json") if path.name not in whole]
        for path in gone:
            path.unlink()
        return len(gone)


def _plain(seal: Seal | None) -> list[int] | None:
    return None if seal is None else [seal.size, seal.checksum]


def _has_sizes(entry: LedgerEntry, store: Path) -> bool:
    return bool(entry.shards) and all(
        not (store / name).exists() if seal is None else seal.has_size(store / name)
        for name, seal in entry.shards.items()
    )


def _read(path: Path) -> LedgerEntry | None:
    """Return a row, or None if the file is not what was written."""
    fields = read_sealed(path)
    if fields is None:
        return None
    try:
        return LedgerEntry(
            fields["shard_row"],
            (fields["shard_columns"][0], fields["shard_columns"][1]),
            tuple(tuple(counts) for counts in fields["counts"]),
            tuple(fields["not_finite"]),
            {name: None if seal is None else Seal(*seal) for name, seal in fields["shards"].items()},
            None if fields.get("thumbnail") is None else Seal(*fields["thumbnail"]),  # older rows have none
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None  # of another version of this program
