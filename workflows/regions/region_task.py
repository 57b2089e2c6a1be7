"""One Region, done: everything that it takes travels as plain values, so that any worker can do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from segment_tiles.pipeline.accepted import AlphaUse, NodataRule
from segment_tiles.pipeline.errors import ReadFailedError, one_line
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.models.backends.torch_threads import torch_threads
from segment_tiles.pipeline.models.ensemble import Ensemble
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.shard_writer import ShardWriter
from segment_tiles.pipeline.outputs.stores.store import open_store, shard_shape
from segment_tiles.pipeline.sources.areas.tissue import TissueMask
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.versions.version import KnownVersion
from segment_tiles.pipeline.sources.view import WHOLE, View
from segment_tiles.workflows.process_memory import peak_resident_bytes
from segment_tiles.workflows.regions.loaded_model import ModelRequest, load_scorer
from segment_tiles.workflows.regions.region_source import open_region_source
from segment_tiles.workflows.regions.slab import Slab
from segment_tiles.workflows.scenes.computed_area import AreaChecksums, computed_area

FAILURES_IN_A_ROW_AT_MOST = 3
"""Rows of shards that may fail one after the other before the rest of a Region is given up."""

Progress = Callable[[int, int], None]
"""Told of tiles computed and tiles skipped since the last call."""
IsStopped = Callable[[], bool]
"""Whether to stop when the row of shards in work is on disk."""


class _StoppedError(Exception):
    """A Region was asked to stop, and the rows that it has finished are whole shards."""


@dataclass(frozen=True, slots=True)
class RegionTask:
    """What a worker needs to know of a run, and the Region that it is to do."""

    uri: str = field(repr=False)  # may hold secrets
    """Source."""
    bands: tuple[int, ...]
    """1-based, in the order of the model."""
    nodata: float | None
    """Value of missing pixels in all bands, in place of those declared."""
    nodata_rule: NodataRule
    """all or any."""
    level: int
    """Overview level."""
    cache_mib: int
    """MiB of decoded pixels that the source may keep."""
    aoi: Path | None
    """Vector file, or None."""
    model: str
    """Name of a bundled model, or folder of a package: bundled models lie elsewhere on another machine."""
    checksum: str
    """Of its weights: a worker that holds an older package under this path must not use it."""
    device: str
    """cpu or cuda:N."""
    device_name: str
    """What the probe ran on: another kind of GPU gives other bytes."""
    precision: str
    """fp32, bf16 or fp16."""
    batch: int
    """Tiles of a forward pass."""
    lattice: Lattice
    """Over the whole raster."""
    blend: str
    """Name of the blend weight."""
    roi: Window
    """The result, in pixels of the raster."""
    region: Window
    """What is to be done, in pixels of the result."""
    store: Path
    """Zarr store that exists."""
    ledger: Path
    """Folder of the ledger."""
    with_scores: bool
    """Whether scores are kept."""
    alpha: AlphaUse = "auto"
    """What a band tagged alpha is."""
    view: View = WHOLE
    """Micrometres per pixel, plane and time point."""
    tissue: TissueMask | Path | None = None
    """Mask or vector file that limits a run on a slide."""
    area_checksums: AreaChecksums = (None, None)
    """Of the files of AOI and tissue, when the run was begun."""
    trust: bool = False
    """Whether a graph that may execute code is loaded."""
    slab: Slab | None = None
    """Of a volume: the slices whose Region this is; lattice, roi and region are those of every slice."""
    backend: str = "torch"
    """torch, compile, openvino or onnx."""
    augmentation: str = "none"
    """none, flips or rotations."""
    companions: tuple[tuple[str, str], ...] = ()
    """Name or folder and checksum of the further models of an ensemble."""
    known: KnownVersion | None = None
    """Version of the source that the map is made of."""

    @property
    def model_request(self) -> ModelRequest:
        """What is to be loaded."""
        return ModelRequest(
            ((self.model, self.checksum), *self.companions),
            self.device,
            self.precision,
            self.backend,
            self.batch,
            self.lattice.tile,
            self.augmentation,
            self.trust,
        )


@dataclass(slots=True)
class RegionReport:
    """What became of a Region."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Busy time of each stage, and what the network waited for reading and writing."""
    computed: int = 0
    """Tiles that went through the network."""
    skipped: int = 0
    """Tiles without a pixel to compute."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    """Windows of the result that could not be done, each with the reason."""
    folded_batch_norms: int = 0
    """Batch norms that were folded into convolutions."""
    peak_bytes: int = 0
    """Highest resident set size of the process that did it."""


def do_region(
    task: RegionTask, progress: Progress | None = None, is_stopped: IsStopped = lambda: False
) -> RegionReport:
    """Do what the ledger does not have of a Region.

    A row of shards whose source cannot be read is listed and left out; the rest goes on. A Region that is
    stopped ends with whole shards; the ledger tells what it has left.

    Raises
    ------
    WriteFailedError
        Where the results cannot be written: no further row could be either.
    SourceChangedError
        Where the source is found to be another after a read that failed.
    """
    if task.slab is not None:
        from segment_tiles.workflows.regions.slab_task import do_slab  # noqa: PLC0415 - which builds on this module

        return do_slab(task, task.slab, progress, is_stopped)
    started = perf_counter()
    report = RegionReport()
    segmenter = load_scorer(task.model_request)
    report.folded_batch_norms = segmenter.folded_batch_norms
    source = open_region_source(task)
    try:
        with torch_threads(task.backend, segmenter.batches_at_once):
            for window in unfinished(task.region, task.roi.width, Ledger(task.ledger)):
                _do_rows(task, window, source, segmenter, report, progress, is_stopped)
    except _StoppedError:
        pass  # as asked: the report says what was done until then
    finally:
        source.close()
    report.seconds["total"] = perf_counter() - started
    report.peak_bytes = peak_resident_bytes()
    return report


def unfinished(region: Window, width: int, ledger: Ledger) -> list[Window]:
    """Return the parts of a Region, full in width, whose rows of shards are not all in the ledger."""
    shard_rows, shard_columns = shard_shape(width)
    done = ledger.finished()
    columns = range(region.column // shard_columns, -(-region.column_stop // shard_columns))
    parts: list[Window] = []
    for top in range(region.row, region.row_stop, shard_rows):
        if all((top // shard_rows, column) in done for column in columns):
            continue
        bottom = min(top + shard_rows, region.row_stop)
        if parts and parts[-1].row_stop == top:
            top = parts.pop().row  # noqa: PLW2901 - the part before grows
        parts.append(Window.from_edges(top, region.column, bottom, region.column_stop))
    return parts


def _do_rows(
    task: RegionTask,
    window: Window,
    source: Source,
    segmenter: Segmenter | Ensemble,
    report: RegionReport,
    progress: Progress | None,
    is_stopped: IsStopped,
) -> None:
    """Do a window; where reading fails, list the row of shards and go on below it."""
    shard_rows, _ = shard_shape(task.roi.width)
    in_a_row = 0
    while not window.is_empty:
        done, error = _stream(task, window, source, segmenter, report, progress, is_stopped)
        if error is None:
            return
        failed_row = (window.row + done) // shard_rows * shard_rows
        in_a_row = in_a_row + 1 if failed_row == window.row else 1
        gives_up = in_a_row >= FAILURES_IN_A_ROW_AT_MOST
        stop = window.row_stop if gives_up else min(failed_row + shard_rows, window.row_stop)
        failed = Window.from_edges(failed_row, window.column, stop, window.column_stop)
        report.failures.append({"window": asdict(failed), "reason": one_line(error)})
        window = Window.from_edges(stop, window.column, window.row_stop, window.column_stop)


def _stream(
    task: RegionTask,
    window: Window,
    source: Source,
    segmenter: Segmenter | Ensemble,
    report: RegionReport,
    progress: Progress | None,
    is_stopped: IsStopped,
) -> tuple[int, ReadFailedError | None]:
    """Stream a window into the store; return the rows that came out and the error that ended it."""
    shard_rows, _ = shard_shape(task.roi.width)
    stream = RegionStream(
        source,
        segmenter,
        task.lattice,
        window.shift(task.roi.row, task.roi.column),
        blend=task.blend,
        batch=task.batch,
        area=computed_area(task.aoi, task.tissue, source.spec, task.area_checksums),
        with_scores=task.with_scores,
        on_tiles=progress,
    )
    table = segmenter.classes
    writer = ShardWriter(
        open_store(task.store, "r+"), window, task.roi.row, Ledger(task.ledger), table.nodata, table.count
    )
    done = 0
    try:
        with writer:
            for rows in stream:
                writer.append(rows)
                before, done = done, done + rows.classes.shape[0]
                if done // shard_rows > before // shard_rows and is_stopped():
                    raise _StoppedError  # past the writer, which would write the rows it holds as whole shards
    except ReadFailedError as error:
        return done, error
    finally:
        add_times(report, stream, writer)
    return done, None


def add_times(report: RegionReport, stream: RegionStream, writer: ShardWriter) -> None:
    """Add what a stream and its writer took to a report."""
    times = stream.times
    report.computed += times.computed
    report.skipped += times.skipped
    parts = {
        "read": times.read,
        "compute": times.compute,
        "write": writer.seconds,
        "compute waited for read": times.wait,
        "compute waited for write": writer.wait_seconds,
    }
    for name, value in parts.items():
        report.seconds[name] = report.seconds.get(name, 0.0) + value
