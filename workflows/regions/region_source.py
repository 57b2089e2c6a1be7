"""The source of a Region, opened once or several times."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch

from segment_tiles.pipeline.sources.kinds import kind_of
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.rasters.several_handles import SeveralHandles
from segment_tiles.pipeline.sources.versions.ranges import begin_reading

if TYPE_CHECKING:
    from segment_tiles.workflows.regions.region_task import RegionTask

HANDLES_AT_MOST = 4
"""Handles of the source that decode at once."""
CORES_PER_HANDLE = 4
"""Threads of torch for which one more handle is opened: fewer cores are better left to the network."""


def open_region_source(task: RegionTask) -> Source:
    """Open a raster as often as this process has groups of cores, for a GPU waits for one decoding thread.

    A slide or an OME image is opened once: each handle of theirs has a cache of its own.

    Raises
    ------
    SourceError
        Where it cannot be opened.
    """
    if task.known is not None:
        begin_reading(task.uri, task.known.before)
    groups = min(HANDLES_AT_MOST, max(1, torch.get_num_threads() // CORES_PER_HANDLE))
    count = groups if kind_of(task.uri) == "raster" else 1
    with ExitStack() as opened:
        handles: list[Source] = []
        for _ in range(count):
            handles.append(_open_handle(task))
            opened.callback(handles[-1].close)
        opened.pop_all()
    return handles[0] if count == 1 else SeveralHandles(handles)


def _open_handle(task: RegionTask) -> Source:
    return open_source(
        task.uri,
        bands=task.bands,
        nodata=task.nodata,
        nodata_rule=task.nodata_rule,
        alpha=task.alpha,
        level=task.level,
        view=task.view,
        cache_mib=task.cache_mib,
        settings=None if task.known is None else task.known.read_settings,
        unchanged=None if task.known is None else task.known.require_same,
    )
