"""Polygons of finished rows, traced while others are computed, if memory has room for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.polygons.ahead import PROCESS_BYTES, TracingRequest, traced_ahead
from segment_tiles.workflows.results.formats.subjects import subject_of_scene
from segment_tiles.workflows.results.formats.table import format_of
from segment_tiles.workflows.results.formats.vectors import options_of_tracing
from segment_tiles.workflows.scenes.scene import Scene


def with_tracing(plan: Plan, config: RunConfig, *, alone: bool) -> Plan:
    """Return the Plan with the process that traces, if it computes alone, there is something to trace, and it fits."""
    if not alone or _options(config, plan.scene) is None:
        return plan
    planned = replace(plan, memory=replace(plan.memory, tracing=PROCESS_BYTES))
    return planned if planned.memory.total <= plan.memory_limit else plan


def tracing(plan: Plan, config: RunConfig, directory: OutputDirectory) -> AbstractContextManager[None]:
    """Trace while the caller computes, if the Plan says so."""
    options = _options(config, plan.scene) if plan.memory.tracing else None
    if options is None:
        return nullcontext()
    request = TracingRequest(
        directory.store_in_work.absolute(), directory.ledger.absolute(), directory.traced.absolute(), options
    )
    return traced_ahead(request)


def _options(config: RunConfig, scene: Scene) -> PolygonizeOptions | None:
    """Return how polygons are traced; None: not before the map is whole, as one of several Cuts or of masks."""
    if len(scene.cuts) > 1 or scene.has_masks:
        return None
    return options_of_tracing(subject_of_scene(config, scene), [format_of(name) for name in config.formats])
