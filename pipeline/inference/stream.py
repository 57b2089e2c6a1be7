"""The streaming loop: a Region of a Source, or of the slices of a volume, in; finished rows of class codes out.

::

    read thread     band i+1           band i+2
    this thread     tiles of band i -> batches -> network -> accumulator -> codes of rows [iS, (i+1)S)
    caller          writes rows behind it

If several batches at once keep the backend busier, each has a thread of its own; they are blended in
the same order. Batches have one fixed size and run on over the end of a row of tiles; the last of the Region is
filled up with repeated tiles, whose scores are dropped. What is finished leaves as bytes.

Slices of a volume follow one another in the same loop, with the same lattice: batches run on over the end
of a slice; apart from that, slices do not affect each other. A row of tiles with index 0 is blended with
nothing above it, so the accumulator needs no reset.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.decision import Decision
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.accumulator import BandAccumulator
from segment_tiles.pipeline.inference.bands import BandReader, InputBand
from segment_tiles.pipeline.inference.batches_ahead import BatchesAhead
from segment_tiles.pipeline.inference.finished_rows import FinishedRows, LeavingRow
from segment_tiles.pipeline.inference.open_row import OpenRow
from segment_tiles.pipeline.inference.transfers import transfers_for
from segment_tiles.pipeline.sources.areas.area_of_interest import Area
from segment_tiles.pipeline.sources.protocol import Source


class TileScorer(Protocol):
    """What the loop asks of a Segmenter."""

    device: torch.device
    """Device that computes the scores."""
    classes: ClassTable
    """Codes and names."""
    batches_at_once: int
    """Batches that keep the device busy, each in `scores` in a thread of its own."""

    def scores(self, values: Tensor, valid: Tensor | None) -> Tensor:
        """Return probabilities (batch, classes, T, T), float32, of raw values (batch, bands, T, T)."""
        ...


@dataclass(slots=True)
class StreamTimes:
    """Seconds that each stage of a Region was busy, and tiles done; filled while it runs."""

    read: float = 0.0
    """Reading and decoding, in its own thread."""
    wait: float = 0.0
    """The network had nothing to do because the next band was not read yet."""
    compute: float = 0.0
    """Network, blending and argmax."""
    computed: int = 0
    """Tiles that went through the network."""
    skipped: int = 0
    """Tiles with no pixel to compute."""


@dataclass(slots=True)
class _Batch:
    """Tiles that wait for the network."""

    values: list[Tensor] = field(default_factory=list)
    valid: list[Tensor | None] = field(default_factory=list)
    tiles: list[tuple[int, int, OpenRow]] = field(default_factory=list)


class RegionStream:
    """Segments one Region; iterate it once to get its rows from top to bottom.

    Parameters
    ----------
    source, scorer, lattice
        What is read, what computes, and the grid of tiles; or the slices of a volume, each opened when its turn
        comes, and the grid of tiles that all of them share.
    region
        Window of the raster whose rows are wanted; only they are returned.
    blend
        Name of the blend weight.
    batch
        Tiles of one forward pass, the same for every pass of a run.
    area
        AOI, or None.
    with_scores
        Whether probabilities of all classes are returned too.
    decision
        Thresholds by which classes are given; None: the highest score wins.
    on_tiles
        Told of tiles computed and tiles skipped, as it happens.
    coarser
        Pixels of the raster along a side of one of what the scorer gives; then `region` is in pixels of that.
    """

    def __init__(
        self,
        source: Source | Iterable[Source],
        scorer: TileScorer,
        lattice: Lattice,
        region: Window,
        *,
        blend: str,
        batch: int,
        area: Area | None = None,
        with_scores: bool = False,
        decision: Decision | None = None,
        on_tiles: Callable[[int, int], None] | None = None,
        coarser: int = 1,
    ) -> None:
        self._on_tiles = on_tiles
        self._scorer, self._lattice, self._region = scorer, lattice, region
        self._batch_size, self._with_scores, self._decision = batch, with_scores, decision
        self._table = scorer.classes if decision is None else decision.table(scorer.classes)
        self._sources = source if isinstance(source, Iterable) else (source,)
        self._area = area
        self._coarser, self._given = coarser, lattice.coarser(coarser)
        self._columns = self._given.columns.covering(region.column, region.column_stop)
        self._accumulator = BandAccumulator(
            self._given, self._columns, scorer.classes.count, blend, scorer.device
        )
        self._open: deque[OpenRow] = deque()
        self._leaving: deque[LeavingRow] = deque()
        self._transfers = transfers_for(scorer.device)
        self._batch = _Batch()
        self._ahead: BatchesAhead[_Batch] = BatchesAhead(scorer.scores, scorer.batches_at_once)
        self.times = StreamTimes()

    def __iter__(self) -> Iterator[FinishedRows]:
        with self._ahead:
            yield from self._rows()

    def _rows(self) -> Iterator[FinishedRows]:
        for source in self._sources:
            waited = perf_counter()
            reader = BandReader(source, self._lattice, self._read_for(), self._area)
            for band in reader.read_ahead():
                self.times.wait += perf_counter() - waited
                self.times.read += band.seconds
                yield from self._through(band)
                waited = perf_counter()
        self._run_batch()
        self._blend(self._ahead.rest())
        yield from self._finished(rows_behind=0)

    def _read_for(self) -> Window:
        """Return the Region in pixels of the raster; the last ones may lie beyond it."""
        region, factor = self._region, self._coarser
        return Window(
            region.row * factor, region.column * factor, region.height * factor, region.width * factor
        )

    def _through(self, band: InputBand) -> Iterator[FinishedRows]:
        """Queue the tiles of a band, run every batch that gets full, and yield what is finished."""
        row = self._start_row(band)
        self._open.append(row)
        columns = self._lattice.columns
        for index in self._columns:
            left = columns.start(index) - columns.start(self._columns[0])
            if not band.is_wanted(left, self._lattice.scored):
                self.times.skipped += 1
                self._tell(0, 1)
                continue
            self._queue(band, index, left, row)
            if len(self._batch.tiles) == self._batch_size:
                self._run_batch()
        row.queued = True
        yield from self._finished(self._transfers.rows_behind)

    def _start_row(self, band: InputBand) -> OpenRow:
        rows, columns = self._given.rows, self._given.columns
        first, last = self._columns[0], self._columns[-1]
        window = Window.from_edges(
            rows.first(band.row_index),
            columns.first(first),
            rows.final_stop(band.row_index),
            columns.final_stop(last),
        )
        wanted = None if band.wanted is None else self._some(band.wanted)[: window.height, : window.width]
        if band.values is None:  # nothing of it was read, and no pixel of it is a network's fault
            wanted = np.zeros(window.shape, dtype=bool)
        return OpenRow.opened(
            window,
            wanted,
            self._table,
            self._scorer.classes.count if self._with_scores else None,
            self._scorer.device,
        )

    def _some(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which pixels of what the scorer gives have any pixel of the raster that is wanted."""
        if self._coarser == 1:
            return wanted
        rows, columns = (side // self._coarser for side in wanted.shape)
        squares = wanted.reshape(rows, self._coarser, columns, self._coarser)
        return np.asarray(squares.any(axis=(1, 3)))

    def _queue(self, band: InputBand, column_index: int, left: int, row: OpenRow) -> None:
        assert band.values is not None  # is_wanted said so
        span = slice(left, left + self._lattice.tile)
        tile = band.values[:, :, span]
        # a copy, for a batch may run on into the next row: a view would keep the whole band in memory
        self._batch.values.append(torch.from_numpy(tile if self._batch_size == 1 else tile.copy()))
        shown = band.shown(span)
        whole = shown is None or bool(shown.all())
        self._batch.valid.append(None if whole or shown is None else torch.from_numpy(shown.copy()))
        self._batch.tiles.append((band.row_index, column_index, row))
        row.pending += 1

    @torch.inference_mode()
    def _run_batch(self) -> None:
        """Send the waiting tiles through the network, and blend what has come out of it."""
        batch, self._batch = self._batch, _Batch()
        if not batch.tiles:
            return
        started = perf_counter()
        self._ahead.put(batch, *self._stacked(batch))
        self.times.compute += perf_counter() - started
        self._blend(self._ahead.arrived())

    @torch.inference_mode()
    def _blend(self, arrived: Iterator[tuple[_Batch, Tensor]]) -> None:
        """Blend batches in lattice order, as they come, waiting for them."""
        started = perf_counter()
        for batch, scores in arrived:
            for position, (row_index, column_index, row) in enumerate(batch.tiles):
                final = self._accumulator.add(row_index, column_index, scores[position])
                row.put(final.column, final.scores, self._table, self._decision)
                row.pending -= 1
            self.times.computed += len(batch.tiles)
            self._tell(len(batch.tiles), 0)
        self.times.compute += perf_counter() - started

    def _tell(self, computed: int, skipped: int) -> None:
        if self._on_tiles is not None:
            self._on_tiles(computed, skipped)

    def _stacked(self, batch: _Batch) -> tuple[Tensor, Tensor | None]:
        missing = self._batch_size - len(batch.tiles)
        values = self._transfers.up(_stack(batch.values + batch.values[-1:] * missing))
        masks = batch.valid + batch.valid[-1:] * missing
        if all(mask is None for mask in masks):
            return values, None
        bands = max(len(mask) for mask in masks if mask is not None)
        shape = (bands, *values.shape[2:])
        full = [
            torch.ones(shape, dtype=torch.bool) if mask is None else mask.expand(shape).contiguous()
            for mask in masks
        ]
        return values, self._transfers.up(_stack(full))

    def _finished(self, rows_behind: int) -> Iterator[FinishedRows]:
        """Yield the rows that are done, but for the last ones, which are still being copied."""
        while self._open and self._open[0].queued and self._open[0].pending == 0:
            self._leave(self._open.popleft())
        while len(self._leaving) > rows_behind:
            yield self._leaving.popleft().arrived(self._table)

    def _leave(self, row: OpenRow) -> None:
        """Cut a row to the Region and begin to bring it to the host."""
        kept = row.window.intersect(self._region)
        if kept.is_empty:
            return
        box, down = kept.relative_to(row.window).slices(), self._transfers.down
        self._leaving.append(
            LeavingRow(
                kept.row,
                None if row.wanted is None else ~row.wanted[box],
                down(row.codes[box]),
                down(row.confidence[box]),
                None if row.scores is None else down(row.scores[(slice(None), *box)]),
            )
        )


def _stack(tiles: list[Tensor]) -> Tensor:
    """Return one tensor of all tiles; of one tile without a copy."""
    return tiles[0].unsqueeze(0) if len(tiles) == 1 else torch.stack(tiles)
