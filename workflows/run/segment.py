"""The main job: a source and a model in, an output directory with class map and everything beside it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import rasterio

from segment_tiles.pipeline.errors import ReadFailedError, SourceError
from segment_tiles.pipeline.models.registry import portable_name
from segment_tiles.pipeline.names import shown_name, without_secrets
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.sources.versions.ranges import begin_reading
from segment_tiles.pipeline.sources.versions.version import (
    KnownVersion,
    known_version,
    reads_overviews,
    require_equal,
    with_guard,
)
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import Capacity, Executor, RunPaths, executor_for
from segment_tiles.workflows.executors.interruption import interruption
from segment_tiles.workflows.logs.context import logged_as
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.plans.memory import read_cache_bytes
from segment_tiles.workflows.plans.plan import Plan, make_plan
from segment_tiles.workflows.plans.probe import Probe
from segment_tiles.workflows.plans.record import (
    RunRecord,
    area_checksums,
    check_same_run,
    choices_of,
    read_record,
    require_device,
    settings_of,
    write_record,
)
from segment_tiles.workflows.regions.region_task import RegionReport, RegionTask
from segment_tiles.workflows.results.areas import codes_of
from segment_tiles.workflows.results.report import not_finite_warning, read_report, run_report, write_report
from segment_tiles.workflows.run.finish import finish, is_finished
from segment_tiles.workflows.run.one_version import on_one_version
from segment_tiles.workflows.run.request import check_space, checked_request
from segment_tiles.workflows.run.scene_probe import probe_scene
from segment_tiles.workflows.run.taken_up import (
    begin,
    read_computed,
    require_whole,
    stores_of,
    take_up,
    write_computed,
)
from segment_tiles.workflows.run.volume_average import average_directions
from segment_tiles.workflows.run.volume_run import copy_source, slab_tasks
from segment_tiles.workflows.run.without_source import complete_without_source, request_of
from segment_tiles.workflows.scenes.computed_area import absolute_file, computed_area
from segment_tiles.workflows.scenes.scene import Scene


class Listener(Protocol):
    """Who wants to know how a run goes."""

    def warn(self, text: str) -> None:
        """Something that the user should know before trusting the map."""
        ...

    def stage(self, name: str) -> None:
        """A stage begins."""
        ...

    def planned(self, plan: Plan) -> None:
        """The run is about to start computing."""
        ...

    def tiles(self, computed: int, skipped: int) -> None:
        """Tiles were done since the last call."""
        ...


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run gives back."""

    report: Mapping[str, Any]
    """The contents of ``report.json``."""
    was_finished: bool
    """The output directory held this very run, finished, already."""

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Windows that could not be done."""
        return list(self.report["failures"])


def segment(config: RunConfig, listener: Listener, executor: Executor | None = None) -> RunResult:
    """Run, or go on with what an earlier start of the same run left.

    Parameters
    ----------
    config
        What is asked for.
    listener
        Told how it goes.
    executor
        Where Regions are done; it is left open. None starts what the configuration names and closes it.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, when what was in flight is finished; a second one raises at once.
    SegmentTilesError
        Where the run cannot start, or cannot write. Reads that fail on the way do not raise: they
        are in ``RunResult.failures``, and starting again tries them again.
    """
    started = perf_counter()
    overviews = reads_overviews(config.level, config.view)
    known = with_guard(known_version(config.source, overviews=overviews))  # before it is opened
    begin_reading(config.source, known.before, anew=True)
    environment = rasterio.Env(**known.read_settings) if known.read_settings else nullcontext()
    with logged_as(scene=shown_name(config.source)), environment:
        return _segment(config, known, listener, executor, started)


def _segment(
    config: RunConfig, known: KnownVersion, listener: Listener, executor: Executor | None, started: float
) -> RunResult:
    directory, asked = OutputDirectory(config.out), config
    try:
        config, scene = checked_request(config)
    except (SourceError, ReadFailedError) as error:
        report = complete_without_source(asked, directory, error, known.before)
        if report is None:
            raise
        return _told(RunResult(report, was_finished=True), listener)
    config = replace(config, companions=tuple(portable_name(folder) for folder, _ in scene.companions))
    with directory.locked_for():
        settings = settings_of(config, scene)
        require_equal(scene.uri, known.before, settings["source version"])
        # once more: another run may have come to its end here meanwhile
        record = None if config.restart else read_record(directory.record)
        if record is not None:
            check_same_run(record, settings, config, config.out)
            if is_finished(directory, config):
                return RunResult(read_report(directory) or {}, was_finished=True)
        notes = take_up(config, scene, directory, record)
        for note in notes:
            listener.warn(note)
        report = read_computed(directory, record)
        if report is None:
            with ExitStack() as stack:
                chosen = executor or stack.enter_context(executor_for(config, listener.stage))
                report = _computed(
                    config, scene, directory, settings, record, known, listener, chosen, started, notes
                )
            if report["failures"]:
                return RunResult(report, was_finished=False)
            seconds = {**report["seconds"], "total": round(perf_counter() - started, 3)}
            write_computed(directory, {**report, "seconds": seconds}, request_of(asked))
        report = finish(config, scene, directory, report, listener, started, known)
        write_computed(directory, report, request_of(asked))
        return RunResult(report, was_finished=False)


def _told(result: RunResult, listener: Listener) -> RunResult:
    for text in result.report["warnings"]:
        listener.warn(text)
    return result


def _computed(
    config: RunConfig,
    scene: Scene,
    directory: OutputDirectory,
    settings: dict[str, Any],
    record: RunRecord | None,
    known: KnownVersion,
    listener: Listener,
    executor: Executor,
    started: float,
    notes: list[str],
) -> dict[str, Any]:
    """Do every row that is not done, and return the report; where a part failed, it is written."""
    capacity = executor.start()
    paths = _paths(config, scene, directory)
    executor.check(paths)
    probe, probe_notes = executor.call(probe_scene, config, scene, paths, record)
    warnings = [*scene.warnings, *map(without_secrets, probe_notes)]
    for text in warnings:
        listener.warn(text)
    plan = _plan(config, scene, probe, capacity, settings)
    check_space(plan, directory.path)
    if record is None:
        record = RunRecord(settings, {**choices_of(probe), **({"tuned": True} if config.tuned else {})})
        begin(config, scene, directory)  # after the last check: a run that is refused throws nothing away
    else:
        require_device(record, probe)
    write_record(directory.record, record)
    seconds = {"prepare": perf_counter() - started}
    listener.planned(plan)
    begun = perf_counter()
    regions: list[RegionReport] = []
    if not directory.store.exists():
        # as the record says: the server may tell nothing today
        known = replace(known, before=record.settings.get("source version"))
        regions = _do_regions(config, plan, directory, paths, known, record, executor, listener)
    seconds["segment"] = perf_counter() - begun
    ledger = Ledger(directory.ledger)
    shards, not_finite = ledger.finished(), ledger.not_finite()
    if not_finite:
        warnings.append(not_finite_warning(not_finite, sum(sum(counts) for counts in shards.values())))
        listener.warn(warnings[-1])
    report = run_report(
        plan, record, shards, regions, seconds, [*warnings, *notes],
        codes=codes_of(directory), not_finite=not_finite,
    )  # fmt: skip
    if report["failures"]:
        seconds["total"] = perf_counter() - started
        report = {**report, "seconds": {**report["seconds"], **seconds}, "outputs": ["report.json"]}
        write_report(directory, report)
    return report


def _do_regions(
    config: RunConfig,
    plan: Plan,
    directory: OutputDirectory,
    paths: RunPaths,
    known: KnownVersion,
    record: RunRecord,
    executor: Executor,
    listener: Listener,
) -> list[RegionReport]:
    """Do all Regions, and average directions that are whole."""
    scene, volume = plan.scene, plan.scene.volume
    if volume is not None:
        listener.stage("copy of the voxels")
        copy_source(scene, volume, directory)
    tasks = _tasks(config, plan, directory, paths, known, record)
    with interruption(listener.warn) as asked:
        regions = on_one_version(
            lambda stop: executor.run(tasks, listener.tiles, stop), asked, known, directory, record
        )
    if any(region.failures for region in regions):
        return regions  # an average over a hole would be a class map that looks whole
    result, *directions = stores_of(config, scene, directory)
    if volume is not None and volume.is_averaged:
        require_whole(directions)
        listener.stage("average of directions")
        average_directions(scene, volume, directory)
    require_whole([result])
    return regions


def _plan(
    config: RunConfig, scene: Scene, probe: Probe, capacity: Capacity, settings: Mapping[str, Any]
) -> Plan:
    area = computed_area(config.aoi, scene.tissue, scene.spec, area_checksums(settings))
    return make_plan(config, scene, probe, area, workers=capacity.workers, worker_memory=capacity.memory)


def _paths(config: RunConfig, scene: Scene, directory: OutputDirectory) -> RunPaths:
    """Return the names under which workers find everything: absolute, for they may work in another folder."""
    uri = str(Path(scene.uri).absolute()) if Path(scene.uri).exists() else scene.uri
    return RunPaths(
        uri,
        scene.level,
        scene.view,
        portable_name(scene.model_folder),
        scene.manifest.weights_checksum,
        directory.own.absolute(),
    )


def _tasks(
    config: RunConfig,
    plan: Plan,
    directory: OutputDirectory,
    paths: RunPaths,
    known: KnownVersion,
    record: RunRecord,
) -> list[RegionTask]:
    scene, probe = plan.scene, plan.probe
    widest = max(region.width for region in plan.regions) + scene.lattice.overlap
    cache = read_cache_bytes(scene.spec, min(widest, scene.spec.width))
    tasks = [
        RegionTask(
            uri=paths.uri,
            bands=scene.bands,
            nodata=config.nodata if scene.volume is None else scene.volume.spec.nodata,
            nodata_rule=config.nodata_rule,
            alpha=config.alpha,
            level=scene.level,
            view=scene.view,
            tissue=absolute_file(scene.tissue),
            area_checksums=area_checksums(record.settings),
            cache_mib=cache // 2**20,
            aoi=None if config.aoi is None else config.aoi.absolute(),
            model=paths.model,
            checksum=scene.manifest.weights_checksum,
            device=probe.device,
            device_name=probe.device_name,
            precision=probe.precision,
            backend=probe.backend,
            augmentation=config.augmentation,
            companions=tuple(
                (name, manifest.weights_checksum)
                for name, (_, manifest) in zip(config.companions, scene.companions, strict=True)
            ),
            batch=probe.batch,
            lattice=scene.lattice,
            blend=config.blend,
            roi=scene.roi,
            region=region,
            store=directory.store_in_work.absolute(),
            ledger=directory.ledger.absolute(),
            with_scores=config.scores,
            trust=config.trust,
            known=replace(known, uri=paths.uri),
        )
        for region in plan.regions
    ]
    return tasks if scene.volume is None else slab_tasks(plan, scene.volume, directory, tasks[0])
