"""The process that traces vector tiles while a run computes: ``python -m`` this module with a request."""

from __future__ import annotations

import signal
import sys
import time
from typing import Final

import psutil

LOOK_SECONDS: Final = 0.5
"""How often it looks for finished rows if it has nothing to do."""


def take_what_is_left() -> None:
    """Give this process the lowest priority."""
    if sys.platform == "win32":
        psutil.Process().nice(psutil.IDLE_PRIORITY_CLASS)
    else:
        psutil.Process().nice(19)


def trace(text: str) -> None:
    """Trace every tile as soon as its pixels are finished, until there is none left."""
    # loaded here: under the lowest priority
    from segment_tiles.pipeline.library_messages import silence_libraries  # noqa: PLC0415
    from segment_tiles.pipeline.outputs.stores.finished_shards import FinishedShards  # noqa: PLC0415
    from segment_tiles.pipeline.vectors.tile_work import TileSetup, TileWorker  # noqa: PLC0415
    from segment_tiles.workflows.polygons.ahead import TracingRequest  # noqa: PLC0415

    silence_libraries()
    request = TracingRequest.of_text(text)
    worker = TileWorker(TileSetup(request.raster, None, request.tiles, request.options))
    shards, waiting = FinishedShards(request.rows, worker.tiling.width), list(range(worker.tiling.count))
    while waiting:
        shards.look()
        ready: list[int] = []
        later: list[int] = []
        for number in waiting:
            (ready if shards.cover(worker.pixels_of(number)) else later).append(number)
        for number in ready:
            worker.trace(number)
        waiting = later
        if not ready:
            time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of the process that asked
    take_what_is_left()
    trace(sys.argv[1])
