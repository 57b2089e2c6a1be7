"""What a batch would do: the Plans of its jobs, summed; computes nothing and writes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.errors import ChangedRunError, SegmentTilesError, one_line
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.batch.jobs import Job, list_jobs
from segment_tiles.workflows.batch.jobs_file import JobsFile
from segment_tiles.workflows.batch.layers.wanted import check_layers
from segment_tiles.workflows.batch.sources.mosaic import readable_mosaic
from segment_tiles.workflows.batch.stream.job_stream import IN_FLIGHT
from segment_tiles.workflows.buckets.request import checked_request, is_finished_and_same, plan_run
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.run.in_flight import memory_in_flight


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """What would become of a job."""

    job: Job
    """Which."""
    state: str
    """planned, skipped, changed or failed."""
    error: str | None = None
    """Why it would fail."""
    plan: Plan | None = None
    """Of a job that would be computed."""


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What would become of all jobs."""

    jobs: tuple[PlannedJob, ...]
    """In the order of the file."""

    @property
    def failures(self) -> list[PlannedJob]:
        """Jobs that would not give a map."""
        return [planned for planned in self.jobs if planned.state in {"changed", "failed"}]

    def summary(self) -> dict[str, Any]:
        """Return the sums as plain values: jobs, tiles, bytes, seconds."""
        plans = [planned.plan for planned in self.jobs if planned.plan is not None]
        return {
            "jobs": len(self.jobs),
            "to_do": len(plans),
            "finished_before": sum(planned.state == "skipped" for planned in self.jobs),
            "would_fail": len(self.failures),
            "pixels": sum(plan.scene.roi.area for plan in plans),
            "tiles": sum(plan.all_tiles for plan in plans),
            # a Plan with a large AOI does not count them
            "tiles_outside_aoi": sum(plan.skipped or 0 for plan in plans),
            "disk_bytes": sum(plan.disk_bytes for plan in plans),
            "memory_bytes": self._memory_bytes(),
            "expected_seconds": sum(plan.expected_seconds for plan in plans),
        }

    def _memory_bytes(self) -> int:
        """Return the bytes of this process where it computes, or of one worker."""
        planned = [(job.job.config, job.plan) for job in self.jobs if job.plan is not None]
        here = [plan for config, plan in planned if not config.has_workers]
        elsewhere = [plan.memory.total for config, plan in planned if config.has_workers]
        return max([memory_in_flight(here, min(IN_FLIGHT, len(here))), *elsewhere])


def plan_batch(file: JobsFile, *, restart: bool = False, restart_changed: bool = False) -> BatchPlan:
    """Return the Plans of all jobs that a batch would compute.

    Raises
    ------
    UsageError
        If the file cannot be understood as jobs.
    """
    jobs = list_jobs(file, restart=restart)
    check_layers(file, jobs)
    return plan_jobs(jobs, restart_changed=restart_changed)


def plan_jobs(jobs: Sequence[Job], *, restart_changed: bool = False) -> BatchPlan:
    """Return the Plans of all jobs that would be computed."""
    with tempfile.TemporaryDirectory(prefix="segment-tiles-") as folder:
        return BatchPlan(tuple(_planned(job, Path(folder), restart_changed=restart_changed) for job in jobs))


def _planned(job: Job, folder: Path, *, restart_changed: bool, may_measure: bool = True) -> PlannedJob:
    try:
        job = readable_mosaic(job, folder)
        if not job.config.restart and is_finished_and_same(job.config):
            return PlannedJob(job, "skipped")
    except ChangedRunError as error:
        if not restart_changed:
            return PlannedJob(job, "changed", one_line(error))
        job = replace(job, config=replace(job.config, restart=True))
    except SegmentTilesError as error:
        return PlannedJob(job, "failed", one_line(error))
    try:
        if not may_measure:
            checked_request(job.config)
            return PlannedJob(job, "planned")
        return PlannedJob(job, "planned", plan=plan_run(job.config, with_output=True, alone=False))
    except SegmentTilesError as error:
        return PlannedJob(job, "failed", one_line(error))


def check_jobs(file: JobsFile, *, restart_changed: bool = False) -> None:
    """Refuse a jobs file of which a job would be refused: a schedule would find out in the night.

    Jobs on a cluster are not measured here: this machine need not be able to load their model.

    Raises
    ------
    UsageError
        With the line of the first such job, what is wrong with it, and how many more there are.
    """
    jobs = list_jobs(file)
    check_layers(file, jobs)
    with tempfile.TemporaryDirectory(prefix="segment-tiles-") as folder:
        planned = [
            _planned(job, Path(folder), restart_changed=restart_changed, may_measure=_is_here(job))
            for job in jobs
        ]
    failed = BatchPlan(tuple(planned)).failures
    if failed:
        more = f" (and {counted(len(failed) - 1, 'more job')} would fail)" if len(failed) > 1 else ""
        raise file.error(failed[0].job.line, f"{failed[0].job.name}: {failed[0].error}{more}")


def _is_here(job: Job) -> bool:
    """Return whether a job runs on this machine."""
    return job.config.scheduler is None and job.config.cluster is None
