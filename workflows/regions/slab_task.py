"""One Slab, done: the slices of a volume that the ledger does not have, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.models.backends.torch_threads import torch_threads
from segment_tiles.pipeline.models.ensemble import Ensemble
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.shard_writer import ShardWriter
from segment_tiles.pipeline.outputs.stores.store import open_store, shard_shape
from segment_tiles.pipeline.sources.volumes.slices import open_slices
from segment_tiles.pipeline.sources.volumes.voxel_copy import open_voxels
from segment_tiles.workflows.process_memory import peak_resident_bytes
from segment_tiles.workflows.regions.loaded_model import load_scorer
from segment_tiles.workflows.regions.region_task import (
    IsStopped,
    Progress,
    RegionReport,
    RegionTask,
    add_times,
)
from segment_tiles.workflows.regions.slab import NOT_FINITE_MARK, Slab


def do_slab(task: RegionTask, slab: Slab, progress: Progress | None, is_stopped: IsStopped) -> RegionReport:
    """Do what the ledger does not have of a Slab; one that is stopped ends with a whole slice.

    Raises
    ------
    WriteFailedError
        Where the results cannot be written.
    """
    started = perf_counter()
    report = RegionReport()
    segmenter = load_scorer(task.model_request)
    report.folded_batch_norms = segmenter.folded_batch_norms
    with torch_threads(task.backend, segmenter.batches_at_once):
        for numbers in unfinished_slices(slab.slices, task.region, task.roi, Ledger(task.ledger)):
            if is_stopped():
                break
            _stream(task, slab, numbers, segmenter, report, progress, is_stopped)
    report.seconds["total"] = perf_counter() - started
    report.peak_bytes = peak_resident_bytes()
    return report


def unfinished_slices(slices: tuple[int, int], region: Window, roi: Window, ledger: Ledger) -> list[range]:
    """Return runs of slices of which a shard in these columns is not in the ledger."""
    shard_rows, shard_columns = shard_shape(roi.width)
    rows_of_slice = -(-roi.height // shard_rows)
    done = ledger.finished()
    columns = range(region.column // shard_columns, -(-region.column_stop // shard_columns))
    runs: list[range] = []
    for number in range(*slices):
        rows = range(number * rows_of_slice, (number + 1) * rows_of_slice)
        if all((row, column) in done for row in rows for column in columns):
            continue
        first = runs.pop().start if runs and runs[-1].stop == number else number
        runs.append(range(first, number + 1))
    return runs


def _stream(
    task: RegionTask,
    slab: Slab,
    numbers: Sequence[int],
    segmenter: Segmenter | Ensemble,
    report: RegionReport,
    progress: Progress | None,
    is_stopped: IsStopped,
) -> None:
    """Stream slices into the store; numbers are those of the result."""
    sources = open_slices(
        open_voxels(slab.voxels),
        replace(slab.spec, nodata=task.nodata),
        slab.slicing,
        [slab.first + number for number in numbers],
        neighbours=slab.neighbours,
        nodata_rule=task.nodata_rule,
    )
    stream = RegionStream(
        sources,
        segmenter,
        task.lattice,
        task.region.shift(task.roi.row, task.roi.column),
        blend=task.blend,
        batch=task.batch,
        with_scores=task.with_scores,
        on_tiles=progress,
    )
    table, group = segmenter.classes, open_store(task.store, "r+")
    writer = ShardWriter(
        group, task.region, task.roi.row, Ledger(task.ledger), table.nodata, table.count, slices=numbers
    )
    try:
        with writer:
            for rows in stream:
                if slab.is_direction and rows.not_finite is not None:
                    rows.confidence[rows.not_finite] = NOT_FINITE_MARK
                writer.append(rows)
                ends_slice = rows.row + rows.classes.shape[0] == task.roi.row_stop
                if ends_slice and is_stopped():
                    break
    finally:
        add_times(report, stream, writer)
