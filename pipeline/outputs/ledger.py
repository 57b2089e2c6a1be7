"""Ledger: which rows of shards are finished, as one small file each.

A file is written after its shards, under a temporary name, and renamed: it is there whole, or not
at all. So nothing is lost by ``kill -9`` but the rows in work, and workers need no lock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from segment_tiles.pipeline.errors import WriteFailedError, one_line


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One row of shards that is on disk."""

    shard_row: int
    """Index of the row of shards."""
    shard_columns: tuple[int, int]
    """Half-open interval of shard columns that were written."""
    counts: tuple[tuple[int, ...], ...]
    """Per shard column: pixels of each class, and of nodata last."""


class Ledger:
    """The finished rows of a run, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mark(self, entry: LedgerEntry) -> None:
        """Record that the shards of an entry are on disk.

        Raises
        ------
        WriteFailedError
            Where the record cannot be written.
        """
        first, last = entry.shard_columns
        target = self._folder / f"row-{entry.shard_row:07d}-columns-{first:05d}-{last:05d}.json"
        partial = target.with_suffix(f".{os.getpid()}.partial")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(asdict(entry)))
            partial.replace(target)
        except OSError as error:
            msg = (
                f"{target}: cannot be written ({one_line(error)}); free the disk, then start the same command"
            )
            raise WriteFailedError(msg) from error

    def entries(self) -> Iterator[LedgerEntry]:
        """Yield every finished row, in order."""
        for path in sorted(self._folder.glob("row-*.json")):
            fields = json.loads(path.read_text())
            yield LedgerEntry(
                fields["shard_row"],
                (fields["shard_columns"][0], fields["shard_columns"][1]),
                tuple(tuple(counts) for counts in fields["counts"]),
            )

    def finished(self) -> dict[tuple[int, int], tuple[int, ...]]:
        """Return the counts of every finished shard by (shard row, shard column).

        Rows that were done twice, under two layouts of Regions, have the same counts.
        """
        shards: dict[tuple[int, int], tuple[int, ...]] = {}
        for entry in self.entries():
            for column, counts in zip(range(*entry.shard_columns), entry.counts, strict=True):
                shards[entry.shard_row, column] = counts
        return shards
