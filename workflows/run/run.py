"""Run: one start of a run, from the checked request to the report of what was computed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.models.calibration.calibrated import INT8, copy_path
from segment_tiles.pipeline.models.registry import portable_name
from segment_tiles.pipeline.names import without_secrets
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.sources.versions.version import KnownVersion
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import Capacity, Executor, RunPaths
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.plans.compute.kept_probe import Probe
from segment_tiles.workflows.plans.compute.model_probe import (
    Measured,
    compute_options,
    must_calibrate,
    must_measure,
    planned_probe,
)
from segment_tiles.workflows.plans.memory_plan import cut_cache_bytes
from segment_tiles.workflows.plans.plan import Plan, check_calibrating, make_plan, memory_limit
from segment_tiles.workflows.plans.record import (
    RunRecord,
    area_checksums,
    choices_of,
    require_device,
    write_record,
)
from segment_tiles.workflows.regions.region_task import RegionReport, RegionTask
from segment_tiles.workflows.results.report import not_finite_warning, run_report, write_report
from segment_tiles.workflows.run.in_flight import ALONE, Alone
from segment_tiles.workflows.run.listener import Listener, RunResult
from segment_tiles.workflows.run.mask import Masked, Segment, run_mask
from segment_tiles.workflows.run.one_version import on_one_version
from segment_tiles.workflows.run.request import check_space, plan_of_mask
from segment_tiles.workflows.run.scene_probe import model_request, probe_scene
from segment_tiles.workflows.run.taken_up import begin, require_whole
from segment_tiles.workflows.run.tracing import trace_by_workers, tracing, with_tracing
from segment_tiles.workflows.scenes.computed_area import absolute_file, computed_area
from segment_tiles.workflows.scenes.kind import Kind, WorkStore
from segment_tiles.workflows.scenes.mask_area import MaskedClasses
from segment_tiles.workflows.scenes.registry import kind_named
from segment_tiles.workflows.scenes.scene import Scene, SceneMask, absolute_uri

MEASURED_ONCE: Final = "precision and backend, measured once for this model and machine"
CALIBRATED_ONCE: Final = "calibration for int8, once for this model; it may take some minutes"


@dataclass(slots=True)
class Run:
    """What all steps of a run share."""

    config: RunConfig
    """As checked: formats are named."""
    scene: Scene
    """Source and models."""
    directory: OutputDirectory
    """Locked for this run."""
    settings: dict[str, Any]
    """Of the fingerprint, but for what the probe chooses."""
    known: KnownVersion
    """Version of the source, when this start began."""
    listener: Listener
    """Told how it goes."""
    segment: Segment
    """Does another run: that of its mask."""
    started: float
    """``perf_counter`` at the start of the run."""
    in_flight: Alone = ALONE
    """What it shares with other runs in flight."""
    record: RunRecord | None = None
    """Of an earlier start that is continued, or of this one."""
    is_new: bool = False
    """Whether this start began it."""
    notes: tuple[str, ...] = ()
    """What the user should know of what an earlier start left."""
    masked: Masked | None = None
    """What became of its mask."""
    waited: float = 0.0
    """Seconds until others in flight let it compute."""
    leaves_finishing: bool = False
    """Whether, if Regions are done elsewhere, another start makes the rest there too."""
    is_traced_ahead: bool = False
    """Whether this start has traced polygons before the store was whole."""

    @property
    def kind(self) -> Kind:
        """How such sources are prepared, stored and counted."""
        return kind_named(self.scene.kind)

    @property
    def stores(self) -> list[WorkStore]:
        """The store of the result, and of several Cuts those of their scores."""
        return self.kind.stores(self.scene, self.directory, with_scores=self.config.scores)

    def compute(self, executor: Executor) -> dict[str, Any]:
        """Do every row that is not done, and return the report; if a part failed, it is written.

        Raises
        ------
        SegmentTilesError
            If the run cannot start, or cannot write.
        """
        capacity = executor.start()
        paths = executor.check(self._paths())
        measured = self._measured(executor, paths)
        warnings = [*self.scene.warnings, *map(without_secrets, measured.notes)]
        for text in warnings:
            self.listener.warn(text)
        mask, plan = self.scene.mask, self._planned(measured.probe, capacity)
        plan = plan if mask is None else plan.after(plan_of_mask(mask))
        check_space(plan, self.directory.path)
        self._begin(plan)
        for network in measured.calibrated:
            network.write(copy_path(self.directory.own, network.checksum))
        seconds = {"prepare": perf_counter() - self.started}
        is_done = self.directory.store.exists()
        if mask is not None:
            self.masked = self._mask(mask, executor)
            warnings += self.masked.notes
            seconds["mask"] = perf_counter() - self.started - seconds["prepare"]
            if self.masked.failures:
                return self._report(plan, [RegionReport(failures=self.masked.failures)], seconds, warnings)
            plan = self._planned(measured.probe, capacity, mask.area).after(plan_of_mask(mask))
        self.listener.planned(plan)
        begun = perf_counter()
        regions = [] if is_done else self._do_regions(plan, paths, executor, capacity)
        seconds["segment"] = perf_counter() - begun - self.waited
        return self._report(plan, regions, seconds, warnings)

    def _mask(self, mask: SceneMask, executor: Executor) -> Masked:
        def do(config: RunConfig, listener: Listener) -> RunResult:
            return self.segment(config, listener, executor, self.in_flight)

        return run_mask(mask, self.directory, self.listener, self.scene.warnings, do)

    def _planned(self, probe: Probe, capacity: Capacity, mask: MaskedClasses | None = None) -> Plan:
        """Return the Plan; without the finished map of a mask as if that left all."""
        config, scene, checksums = self.config, self.scene, area_checksums(self.settings)
        area = computed_area(config.aoi, scene.tissue, scene.area_spec, checksums, mask)
        workers, memory = capacity.workers, capacity.memory
        plan = make_plan(config, scene, probe, area, workers=workers, worker_memory=memory)
        return with_tracing(plan, config, alone=self.in_flight.traces_ahead and not capacity.is_elsewhere)

    def _begin(self, plan: Plan) -> None:
        """Keep the record, and of a new run make the stores."""
        if self.record is None:
            chosen = {**choices_of(plan.probe), **({"tuned": True} if self.config.tuned else {})}
            self.record = RunRecord(self.settings, chosen)
            # after the last check: a run that is refused throws nothing away
            begin(self.directory, self.stores, restart=self.config.restart)
            self.is_new = True
        else:
            require_device(self.record, plan.probe)
        write_record(self.directory.record, self.record)

    def _measured(self, executor: Executor, paths: RunPaths) -> Measured:
        """Return how this run computes, and keep the Choice for those that the executor serves after it."""
        scene = self.scene
        models = tuple(manifest.network_checksum for _, manifest in scene.members)
        options = compute_options(self.config, None if self.record is None else self.record.choices)
        way = (models, options, scene.lattice.tile, scene.spec.bands, scene.spec.dtype)
        with self.in_flight.measuring(way):
            known = executor.choices.get(models)
            if must_calibrate(scene, options):  # what it takes is refused before it begins, as by `plan`
                capacity = executor.start()
                limit = memory_limit(self.config, capacity.workers, capacity.memory)
                check_calibrating(planned_probe(scene, options), limit)
            if known is None and must_measure(scene, options):
                self.listener.stage(CALIBRATED_ONCE if options.precision == INT8 else MEASURED_ONCE)
            measured = executor.call(probe_scene, self.config, scene, paths, self.record, known)
            executor.choices[models] = measured.choice
        return measured

    def _do_regions(
        self, plan: Plan, paths: RunPaths, executor: Executor, capacity: Capacity
    ) -> list[RegionReport]:
        """Do all Regions, and make one result of several Cuts that are whole."""
        assert self.record is not None
        # as the record says: the server may tell nothing today
        known = replace(self.known, before=self.record.settings.get("source version"))
        self._prepare()
        tasks, ready = self._tasks(plan, paths, known), perf_counter()
        with (
            self.in_flight.interruption(self.listener.warn) as asked,
            self.in_flight.computing(plan, capacity),
            tracing(plan, self.config, self.directory),
        ):
            self.waited = perf_counter() - ready
            regions = on_one_version(
                lambda stop: executor.run(tasks, self.listener.tiles, stop),
                asked,
                known,
                self.directory,
                self.record,
            )
            is_whole = not any(region.failures for region in regions) and not asked.is_requested()
            if is_whole and capacity.is_elsewhere and not self.leaves_finishing:
                self.is_traced_ahead = trace_by_workers(
                    executor, self.config, self.scene, self.directory, asked
                )
        if any(region.failures for region in regions):
            return regions  # what is composed over a hole would be a class map that looks whole
        result, *parts = self.stores
        if parts:
            require_whole(parts)
            self.listener.stage("average of directions")
            self.kind.compose(self.scene, self.directory)
        require_whole([result])
        self.is_traced_ahead |= plan.memory.tracing > 0
        return regions

    def _prepare(self) -> None:
        """Prepare the source; if it is damaged, a new run leaves nothing in the way of a better copy."""
        try:
            self.kind.prepare(self.scene, self.directory, self.listener.stage)
        except SourceError:
            if self.is_new:
                self.directory.clear_work()
            raise

    def _report(
        self, plan: Plan, regions: list[RegionReport], seconds: dict[str, float], warnings: list[str]
    ) -> dict[str, Any]:
        assert self.record is not None
        ledger = Ledger(self.directory.ledger)
        shards, not_finite = ledger.finished(), ledger.not_finite()
        if not_finite:
            warnings.append(not_finite_warning(not_finite, sum(sum(counts) for counts in shards.values())))
            self.listener.warn(warnings[-1])
        report = run_report(
            plan, self.record, shards, regions, seconds, [*warnings, *self.notes],
            directory=self.directory, not_finite=not_finite,
            mask=None if self.masked is None else self.masked.summary(),
        )  # fmt: skip
        if report["failures"]:
            seconds["total"] = perf_counter() - self.started
            report = {**report, "seconds": {**report["seconds"], **seconds}, "outputs": ["report.json"]}
            write_report(self.directory, report)
        return report

    def _paths(self) -> RunPaths:
        """Return the names under which workers find everything: absolute, for they may work in another folder."""
        return RunPaths(
            self.scene.result.opener,
            self.scene.result.planes // 2,
            portable_name(self.scene.model_folder),
            self.scene.manifest.map_checksum,
            self.directory.own.absolute(),
        )

    def _tasks(self, plan: Plan, paths: RunPaths, known: KnownVersion) -> list[RegionTask]:
        """Return the Regions of all planes of all Cuts."""
        assert self.record is not None
        config, scene = self.config, self.scene
        widest = max(scene.result.read_for(region).width for region in plan.regions) + scene.lattice.overlap
        cache = cut_cache_bytes(scene.result, min(widest, scene.spec.width))
        cuts = self.kind.cuts_in_work(
            scene, self.directory, replace(known, uri=absolute_uri(scene.uri)), cache // 2**20
        )
        result, *parts = self.stores
        model = model_request(config, scene, plan.probe, paths)
        return [
            RegionTask(
                cut=cut,
                planes=slab,
                region=region,
                model=model,
                device_name=plan.probe.device_name,
                blend=config.blend,
                store=store.path.absolute(),
                ledger=store.ledger.folder.absolute(),
                with_scores=config.scores or scene.is_composed or scene.has_masks,
                aoi=None if config.aoi is None else config.aoi.absolute(),
                tissue=absolute_file(scene.tissue),
                area_checksums=area_checksums(self.record.settings),
                mask=None if scene.mask is None else scene.mask.area,
                # classes of several Cuts are decided later, from their scores
                decision=None if scene.is_composed else scene.decision,
                reclass=None if scene.is_composed else scene.reclass,
                is_composed=scene.is_composed,
            )
            for cut, regions, store in zip(cuts, plan.regions_of_cuts, parts or [result], strict=True)
            for slab in cut.slabs()
            for region in regions
        ]
