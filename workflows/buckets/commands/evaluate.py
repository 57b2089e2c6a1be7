"""Scores of a class map that may lie at a URL, into a folder that may too."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from segment_tiles.workflows.buckets.copies import is_result, read_here
from segment_tiles.workflows.buckets.written import written_here
from segment_tiles.workflows.options.evaluation import EvaluateConfig
from segment_tiles.workflows.training import evaluate as on_a_disk


def evaluate_as_asked(config: EvaluateConfig) -> dict[str, Any]:
    """Score a class map, as `workflows.training.evaluate.evaluate_as_asked`.

    Raises
    ------
    PlaceError
        If a bucket does not answer, or does not let us write; nothing is scored then.
    SegmentTilesError
        As of a class map on a disk.
    """
    with ExitStack() as stack:
        changes: dict[str, Any] = {}
        if is_result(config.class_map):
            changes["class_map"] = stack.enter_context(read_here(config.class_map))
        if is_result(config.truth):
            changes["truth"] = str(stack.enter_context(read_here(config.truth)))
        if config.out is not None:
            changes["out"] = stack.enter_context(written_here(config.out))
        return on_a_disk.evaluate_as_asked(replace(config, **changes))
