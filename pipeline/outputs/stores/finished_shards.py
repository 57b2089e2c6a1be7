"""Which parts of a store in work are finished, as its ledger says, for who looks again and again."""

from __future__ import annotations

from pathlib import Path

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.store import shard_shape


class FinishedShards:
    """The finished shards of a raster.

    Parameters
    ----------
    ledger
        Its folder, which need not be there yet.
    width
        Columns of the raster.
    """

    def __init__(self, ledger: Path, width: int) -> None:
        self._ledger = Ledger(ledger)
        self._rows, self._columns = shard_shape(width)
        self._read: set[str] = set()
        self._finished: set[tuple[int, int]] = set()

    def look(self) -> None:
        """Read what the ledger says since the last look."""
        for entry in self._ledger.entries(but=self._read):
            self._read.add(entry.name)
            self._finished.update((entry.shard_row, column) for column in range(*entry.shard_columns))

    def cover(self, window: Window) -> bool:
        """Return whether all of a window was finished at the last look."""
        rows = range(window.row // self._rows, -(-window.row_stop // self._rows))
        columns = range(window.column // self._columns, -(-window.column_stop // self._columns))
        return all((row, column) in self._finished for row in rows for column in columns)
