"""Polygons of finished rows, traced while others are computed, if memory has room for it."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from segment_tiles.pipeline.durable import make_folder, remove
from segment_tiles.pipeline.errors import RunFailedError, one_line
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import Executor
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.polygons.ahead import PROCESS_BYTES, TracingRequest, traced_ahead
from segment_tiles.workflows.results.formats.subjects import subject_of_scene
from segment_tiles.workflows.results.formats.table import format_of
from segment_tiles.workflows.results.formats.vectors import options_of_tracing
from segment_tiles.workflows.scenes.scene import Scene

log = logging.getLogger(__name__)


def with_tracing(plan: Plan, config: RunConfig, *, alone: bool) -> Plan:
    """Return the Plan with the process that traces, if it computes alone, there is something to trace, and it fits."""
    if not alone or _options(config, plan.scene) is None:
        return plan
    planned = replace(plan, memory=replace(plan.memory, tracing=PROCESS_BYTES))
    return planned if planned.memory.total <= plan.memory_limit else plan


def tracing(plan: Plan, config: RunConfig, directory: OutputDirectory) -> AbstractContextManager[None]:
    """Trace while the caller computes, if the Plan says so."""
    request = _request(config, plan.scene, directory) if plan.memory.tracing else None
    return nullcontext() if request is None else traced_ahead(request)


def trace_by_workers(
    executor: Executor, config: RunConfig, scene: Scene, directory: OutputDirectory, asked: Interruption
) -> bool:
    """Have the workers that have computed all rows trace their polygons; return whether there is something to trace.

    That is within the memory that the Plan gives to finishing. What workers do not trace is traced after them.

    Raises
    ------
    WriteFailedError
        If a disk is full, or a place does not answer.
    """
    request = _request(config, scene, directory)
    if request is None:
        return False
    from segment_tiles.workflows.regions.strips import strips_of  # noqa: PLC0415 - brings GDAL

    remove(request.tiles)
    make_folder(request.tiles)
    try:
        executor.trace(strips_of(request, *subject_of_scene(config, scene).shape), asked)
    except RunFailedError as error:
        log.warning("%s; polygons that are missing are traced by this process", one_line(error))
    return True


def _request(config: RunConfig, scene: Scene, directory: OutputDirectory) -> TracingRequest | None:
    options = _options(config, scene)
    if options is None:
        return None
    paths = (directory.store_in_work, directory.ledger, directory.traced)
    raster, rows, tiles = (path.absolute() for path in paths)
    return TracingRequest(raster, rows, tiles, options)


def _options(config: RunConfig, scene: Scene) -> PolygonizeOptions | None:
    """Return how polygons are traced; None: not before the map is whole, as one of several Cuts or of masks."""
    if len(scene.cuts) > 1 or scene.has_masks:
        return None
    return options_of_tracing(subject_of_scene(config, scene), [format_of(name) for name in config.formats])
