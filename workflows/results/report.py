"""report.json: what was done, with what, how long it took, and what it found."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.installed import installed_version
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.models.packages.card import limits_of
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.plans.record import HEAD, RunRecord
from segment_tiles.workflows.process_memory import peak_resident_bytes
from segment_tiles.workflows.regions.region_task import RegionReport
from segment_tiles.workflows.scenes.notice import notice_of
from segment_tiles.workflows.scenes.registry import kind_named, kind_of_report

LIBRARIES = ("torch", "timm", "rasterio", "zarr", "numpy", "shapely", "pyproj", "pyogrio")
"""Versions that the report names beside our own."""


def run_report(
    plan: Plan,
    record: RunRecord,
    shards: Mapping[tuple[int, int], Sequence[int]],
    regions: Sequence[RegionReport],
    seconds: Mapping[str, float],
    warnings: Sequence[str],
    *,
    directory: OutputDirectory,
    not_finite: int = 0,
    mask: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the report as plain JSON values.

    Parameters
    ----------
    plan, record
        What was to be done, and under which fingerprint.
    shards
        Counts by (shard row, shard column), from the ledger.
    regions
        What became of every Region of this start of the run.
    seconds
        Wall time of the stages of this start.
    warnings
        What the user was told.
    directory
        Holds the class map, of which a part may have to be counted again.
    not_finite
        Pixels that hold data and are nodata, for the network gave them no score that is a number.
    mask
        What became of the run of another model whose classes limit this one; None: there is none.
    """
    scene, probe = plan.scene, plan.probe
    kind = kind_named(scene.kind)
    failures = [failure for region in regions for failure in region.failures]
    return {
        "program": "segment-tiles",
        "version": installed_version("segment-tiles"),
        "status": "incomplete" if failures else "complete",
        **notice_of(scene),
        "kind": scene.kind,
        "fingerprint": record.fingerprint,
        "source": kind.facts(scene),
        "model": _model(plan, record, regions),
        **({} if mask is None else {"mask_model": dict(mask)}),
        "settings": dict(record.settings),
        "choices": {
            **record.choices,
            "device": probe.device,
            "chosen": probe.chosen,
            "trials": list(probe.trials),
        },
        **kind.count(scene, shards, directory),
        "not_finite": not_finite,
        "workers": plan.workers,
        "tiles": _tiles(plan, regions),
        "seconds": {
            **{name: round(value, 3) for name, value in seconds.items()},
            "stages": _stages(regions),
            "limit": limiting_stage(regions),
        },
        "memory": _memory(plan, regions),
        "warnings": list(warnings),
        "failures": failures,
        "versions": {"python": platform.python_version()}
        | {name: installed_version(name) for name in LIBRARIES},
    }


def not_finite_warning(count: int, total: int) -> str:
    """Return what to tell of a map with pixels that the network has no number for."""
    return (
        f"the network gave NaN or infinity for {count:,} of {counted(total, 'pixel')}, nodata in the map: check the "
        "values of the source against the scaling of the model (`segment-tiles info`, `model inspect`), and "
        "whether --precision fp32 cures it"
    )


def _model(plan: Plan, record: RunRecord, regions: Sequence[RegionReport]) -> dict[str, Any]:
    head = record.settings.get(HEAD)
    return {
        "name": plan.scene.manifest.name,
        **({} if head is None else {"head": head}),
        "checksum": plan.scene.manifest.weights_checksum,
        "description": plan.scene.manifest.description,
        "limits": limits_of(plan.scene.manifest),
        # 0 if the graph cannot be traced: the network then runs as it is
        "folded_batch_norms": max((region.folded_batch_norms for region in regions), default=0),
    }


def _tiles(plan: Plan, regions: Sequence[RegionReport]) -> dict[str, int]:
    return {
        "planned": plan.tiles,
        "computed": sum(region.computed for region in regions),
        "skipped": sum(region.skipped for region in regions),
    }


def _memory(plan: Plan, regions: Sequence[RegionReport]) -> dict[str, Any]:
    """Return bytes; the peak, of this process or a worker, may rise once more in what follows the computation."""
    peak = max([peak_resident_bytes(), *(region.peak_bytes for region in regions)])
    return {
        "planned_bytes": plan.memory.total,
        "planned": asdict(plan.memory),
        "computing_peak_bytes": peak,
        "peak_bytes": peak,
    }


def write_report(directory: OutputDirectory, report: Mapping[str, Any]) -> None:
    """Write ``report.json`` whole."""
    with finished_file(directory.report) as path:
        path.write_text(json_text(report) + "\n", encoding="utf-8")


def read_report(directory: OutputDirectory) -> dict[str, Any] | None:
    """Return ``report.json``, or None if there is none, or it lacks what this program wrote there."""
    try:
        report = json.loads(directory.report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and _is_understood(report) else None


def _is_understood(report: Mapping[str, Any]) -> bool:
    """Return whether a report has, in their types, the entries that are read again."""
    try:
        numbers = kind_of_report(report).counts(report)
        levels = report["source"].get("levels", ())
        texts = [
            report["status"], report["fingerprint"], report["settings"]["source"], report["model"]["name"],
            *report["warnings"], *report.get("outputs", ()),
        ]  # fmt: skip
        pairs = all(len(level) == 2 and all(isinstance(side, int) for side in level) for level in levels)
        lists = all(isinstance(report[name], list) for name in ("warnings", "failures", "classes"))
    except (KeyError, TypeError, AttributeError, SourceError):  # the last: a kind that nobody knows
        return False
    return (
        pairs
        and lists
        and all(isinstance(t, str) for t in texts)
        and all(isinstance(n, int) for n in numbers)
    )


def _stages(regions: Sequence[RegionReport]) -> dict[str, float]:
    """Sum the busy time of the stages."""
    totals: dict[str, float] = {}
    for region in regions:
        for name, value in region.seconds.items():
            totals[name] = totals.get(name, 0.0) + value
    return {name: round(value, 3) for name, value in totals.items()}


def limiting_stage(regions: Sequence[RegionReport]) -> str | None:
    """Return the stage that the others waited for: read, compute or write; None if nothing was done.

    Reading and writing run beside the network. What the network waited for either of them, if that is
    longer than it computed, makes that one the limit.
    """
    stages = _stages(regions)
    waited = {
        "read": stages.get("compute waited for read", 0.0),
        "write": stages.get("compute waited for write", 0.0),
    }
    candidates = {"compute": stages.get("compute", 0.0), **waited}
    longest = max(candidates, key=lambda name: candidates[name])
    return longest if candidates[longest] > 0 else None
