"""Strips: vector tiles of a whole class map that one worker traces, beside others that trace the rest.

What a worker has traced is what a process of the client would have: the client takes it over, and joins what crosses
seams. Where workers see no disk of the client, a strip brings the rows that it needs, and sends what it has traced.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from segment_tiles.pipeline.durable import make_folder
from segment_tiles.pipeline.errors import PlaceError, WriteFailedError, one_line
from segment_tiles.pipeline.outputs.stores.finished_shards import FinishedShards
from segment_tiles.pipeline.outputs.stores.packed_files import packed
from segment_tiles.pipeline.outputs.stores.sent_rows import RowsAddress, fetch_rows
from segment_tiles.pipeline.outputs.stores.store import shard_shape
from segment_tiles.pipeline.places.protocol import Traffic
from segment_tiles.pipeline.vectors.tile_work import TileSetup, TileWorker
from segment_tiles.pipeline.vectors.tiling import VectorTiling
from segment_tiles.workflows.polygons.ahead import TracingRequest
from segment_tiles.workflows.regions.own_disk import write_metadata

_TILES: Final = 16
"""Vector tiles of a strip at least, if the raster has as many: a worker opens the store once for them."""


@dataclass(frozen=True, slots=True)
class SentStrip:
    """How a strip travels where no disk is shared."""

    rows: RowsAddress
    """The finished rows of the class map."""
    metadata: tuple[tuple[str, bytes], ...]
    """What describes the store and its arrays, by path in it."""
    key: str
    """Of the object with what is traced."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows of vector tiles."""

    request: TracingRequest
    """Raster, and how it is traced."""
    tiling: VectorTiling
    """All tiles."""
    first: int
    """Row of tiles that is the first."""
    stop: int
    """Row of tiles behind the last."""
    sent: SentStrip | None = None
    """None: the worker sees the folders of the request."""

    @property
    def name(self) -> str:
        """Name for an object."""
        return f"strip-{self.first:07d}-{self.stop:07d}"

    @property
    def shard_rows(self) -> range:
        """Rows of shards that tracing it reads: its own pixels, and those beside them."""
        side, rows = self.tiling.side, shard_shape(self.tiling.width)[0]
        last = min(self.stop * side + 1, self.tiling.height)
        return range(max(0, self.first * side - 1) // rows, -(-last // rows))


def strips_of(request: TracingRequest, height: int, width: int) -> list[Strip]:
    """Return the strips of a raster of so many pixels, from top to bottom."""
    tiling = VectorTiling(height, width, request.options.vector_tile)
    step = -(-_TILES // tiling.columns)
    return [
        Strip(request, tiling, first, min(first + step, tiling.rows)) for first in range(0, tiling.rows, step)
    ]


def trace_strip(strip: Strip, is_stopped: Callable[[], bool], _is_left: Callable[[], bool]) -> Traffic:
    """Trace the tiles of a strip whose pixels are all there; return what was asked of a place.

    Raises
    ------
    WriteFailedError
        If the disk is full, or the place does not answer.
    """
    if strip.sent is None:
        _trace(strip, is_stopped)
        return Traffic()
    with tempfile.TemporaryDirectory(prefix="segment-tiles-strip-") as folder:
        return _trace_on_own_disk(strip, strip.sent, Path(folder), is_stopped)


def _trace(strip: Strip, is_stopped: Callable[[], bool]) -> None:
    request, columns = strip.request, strip.tiling.columns
    make_folder(request.tiles)
    shards = FinishedShards(request.rows, strip.tiling.width)
    shards.look()
    with closing(TileWorker(TileSetup(request.raster, None, request.tiles, request.options))) as worker:
        for number in range(strip.first * columns, strip.stop * columns):
            # to Zarr a shard that is not there is one of nodata; and a stop leaves the rest to whoever goes on
            if shards.cover(worker.pixels_of(number)) and not is_stopped():
                worker.trace(number)


def _trace_on_own_disk(
    strip: Strip, sent: SentStrip, folder: Path, is_stopped: Callable[[], bool]
) -> Traffic:
    """Trace a strip with rows that are brought into a folder, and send what came of it, if it came to its end."""
    asked = strip.request
    here = replace(
        asked,
        raster=folder / asked.raster.name,
        rows=folder / asked.rows.name,
        tiles=folder / asked.tiles.name,
    )
    write_metadata(here.raster, sent.metadata)
    place = sent.rows.place()
    try:
        fetch_rows(place, sent.rows.prefix, folder, strip.shard_rows)
        _trace(replace(strip, request=here), is_stopped)
        if not is_stopped():
            place.put_if_absent(sent.key, packed(sorted(here.tiles.iterdir()), folder))
    except PlaceError as error:
        msg = f"{one_line(error)}; finished rows are kept: start the same command again"
        raise WriteFailedError(msg) from error
    return place.traffic
