"""The Plan of a run from its configuration, without loading what only a run needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.objects import cut_reach_notes
from segment_tiles.pipeline.grid.reclass import check_codes_of_run, reclass_of
from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.names import without_secrets
from segment_tiles.pipeline.sources.areas.vector_file import split_layer
from segment_tiles.pipeline.sources.protocol import notes_of
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.check import check_disk
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.plans.compute.model_probe import compute_options, planned_probe
from segment_tiles.workflows.plans.compute.tuned_run import with_tuning
from segment_tiles.workflows.plans.plan import Plan, make_plan
from segment_tiles.workflows.plans.record import RunRecord, check_same_run, read_record, settings_of
from segment_tiles.workflows.results.formats.check import checked_formats, formats_and_notes
from segment_tiles.workflows.run.tracing import with_tracing
from segment_tiles.workflows.scenes.computed_area import computed_area
from segment_tiles.workflows.scenes.decided import decided_scene
from segment_tiles.workflows.scenes.registry import kind_named, open_scene
from segment_tiles.workflows.scenes.scene import Scene, SceneMask
from segment_tiles.workflows.scenes.scene_statistics import scaled_scene
from segment_tiles.workflows.scenes.stack_source import said_of_mask, with_resolved_source
from segment_tiles.workflows.sizes_check import check_batch, check_executor_options


def plan_run(config: RunConfig, *, with_output: bool = False, alone: bool = True) -> Plan:
    """Return what ``segment`` would do; nothing is computed but, once per model and machine, a probe.

    Parameters
    ----------
    config
        What is asked for.
    with_output
        Also look at the output directory: can it be written, is it another run's, has its disk the space.
    alone
        Whether it will have the process to itself.

    Raises
    ------
    SegmentTilesError
        Wherever ``segment`` would refuse to start.
    """
    config, scene = checked_request(config, with_output=with_output)
    plan = _planned(config, scene, alone=alone)
    if scene.mask is not None:
        plan = plan.after(plan_of_mask(scene.mask))
    if with_output:
        check_space(plan, config.out)
    return plan


def plan_of_mask(mask: SceneMask) -> Plan:
    """Return the Plan of the run of a mask.

    Raises
    ------
    PlanError
        If memory cannot hold it.
    """
    with said_of_mask(mask.config.model):
        return _planned(mask.config, mask.scene, alone=False)


def _planned(config: RunConfig, scene: Scene, *, alone: bool) -> Plan:
    probe = planned_probe(scene, compute_options(config))
    # what a mask leaves is not known before it is computed
    area = computed_area(config.aoi, scene.tissue, scene.area_spec)
    plan = make_plan(config, scene, probe, area, workers=config.workers or 1)
    return with_tracing(plan, config, alone=alone and not config.has_workers)


def checked_request(config: RunConfig, *, with_output: bool = True) -> tuple[RunConfig, Scene]:
    """Return scene, and configuration with all that is decided of it, of a run that nothing speaks against.

    `plan`, `run`, `batch`, its dry run and `schedule` all ask here.

    What is asked only later, because it takes a loaded network: memory and disk, by the Plan (`check_space`).

    Parameters
    ----------
    config
        What is asked for.
    with_output
        Look at the output directory too: a Plan may have none.

    Raises
    ------
    SegmentTilesError
        If source, model, options or output directory cannot be accepted. Nothing was written.
    """
    config = with_resolved_source(config)
    if not with_output:
        return _masked(config, *_tuned_scene(config, None), with_output=False)
    directory = OutputDirectory(config.out)
    directory.check()
    record = None if config.restart else read_record(directory.record)
    config, scene = _masked(config, *_tuned_scene(config, record))
    if record is not None:
        check_same_run(record, settings_of(config, scene), config, config.out)
    return config, scene


def check_space(plan: Plan, out: Path) -> None:
    """Refuse a run whose results would not fit beside what it has written already.

    Raises
    ------
    PlanError
        With the bytes needed and the bytes that are free.
    """
    check_disk(plan.disk_bytes - OutputDirectory(out).written_bytes(), out)


def _tuned_scene(config: RunConfig, record: RunRecord | None) -> tuple[RunConfig, Scene]:
    """Return the checked scene, and the configuration with its formats and what `tune` kept, where left open.

    Raises
    ------
    SegmentTilesError
        As `checked_scene`.
    """
    scene = checked_scene(config)
    tuned = with_tuning(config, scene, record)
    if tuned.tuned:
        config, scene = tuned, checked_scene(tuned)
    formats = checked_formats(config, scene)
    return replace(config, formats=formats), scaled_scene(scene, None if record is None else record.settings)


def settings_asked(config: RunConfig) -> dict[str, Any]:
    """Return the settings of the fingerprint of a run, without what its output directory holds.

    Raises
    ------
    SegmentTilesError
        As `checked_request`.
    """
    config = with_resolved_source(config)
    scene = scaled_scene(checked_scene(config), None)
    return settings_of(*_masked(config, config, scene, with_output=False))


def _masked(
    asked: RunConfig, config: RunConfig, scene: Scene, *, with_output: bool = True
) -> tuple[RunConfig, Scene]:
    """Return a checked run with the run of the model of its mask, as checked, if it has one.

    Parameters
    ----------
    asked
        By the user: what was tuned for the one model is not for the other.
    config, scene
        Of the run.
    with_output
        As of `checked_request`.

    Raises
    ------
    SegmentTilesError
        As `checked_request`, saying that it is about that model.
    """
    if config.mask is None:
        return config, scene
    if scene.result.coarser > 1:
        msg = (
            f"--grid is model, and model {scene.manifest.name} has class pixels of {scene.result.coarser} px, which "
            "--mask-model does not limit; leave one of them out"
        )
        raise UsageError(msg)
    with said_of_mask(config.mask.model):
        own = kind_named(scene.kind).mask_run(asked, scene, config.mask)
        manifest = load_manifest(find_model(own.model)).with_head(own.head)
        check_class_names(config.mask.classes, manifest.classes, manifest.name)
        folder = OutputDirectory(own.out)
        if with_output:
            folder.check()
        record = read_record(folder.record) if with_output and not config.restart else None
        own, of_mask = _tuned_scene(own, record)
    mask = SceneMask(own, of_mask, config.mask.classes, config.mask.keeps)
    warnings = [mask.said(text) for text in of_mask.warnings if text not in scene.warnings]
    return config, replace(scene, mask=mask, warnings=(*scene.warnings, *warnings))


def check_class_names(names: Sequence[str], table: ClassTable, model: str) -> None:
    """Refuse names of classes that a model has not.

    Raises
    ------
    UsageError
        With the first of them, and those that it has.
    """
    for name in names:
        if name not in table.names:
            msg = f"model {model} has no class {name!r}; it has {', '.join(table.names)}"
            raise UsageError(msg)


def checked_scene(config: RunConfig) -> Scene:
    """Return source and model of a configuration, all of whose options have been checked.

    Raises
    ------
    SegmentTilesError
        Naming the option or the input that cannot be accepted.
    """
    check_executor_options(config)
    _check_cluster(config)
    scene = _reclassed(config, _decided(config, open_scene(config)))
    is_elsewhere = config.scheduler is not None or config.cluster is not None
    check_batch(config.batch or 1, scene.lattice.tile, scene.spec.bands, is_elsewhere=is_elsewhere)
    if config.aoi is not None and not split_layer(config.aoi)[0].exists():
        msg = f"--aoi {config.aoi}: no such file; give a vector file with polygons"
        raise UsageError(msg)
    notes = notes_of(computed_area(config.aoi, scene.tissue, scene.area_spec))
    notes = (*notes, *formats_and_notes(config, scene)[1], *_reach_notes(scene))
    return replace(scene, warnings=tuple(map(without_secrets, (*scene.warnings, *notes))))


def _reach_notes(scene: Scene) -> tuple[str, ...]:
    """Say if rules of objects, scaled with the grid of the result, do not reach as far as the model wants."""
    rules = scene.classes.objects
    if not rules or scene.spec.georef.pixel_area == scene.grid_spec.georef.pixel_area:
        return ()
    return cut_reach_notes(rules)


def _decided(config: RunConfig, scene: Scene) -> Scene:
    """Return a scene with the thresholds by which its classes are given, and with what the user should know of it."""
    scene = decided_scene(config, scene)
    if not scene.has_masks:
        return scene
    note = (
        f"the classes of model {scene.manifest.name} may overlap: the class map, and what is made of it, has the "
        f"highest of each pixel; {kind_named(scene.kind).overlap_note}"
    )
    return replace(scene, warnings=(*scene.warnings, note))


def _reclassed(config: RunConfig, scene: Scene) -> Scene:
    """Return a scene with what becomes of the classes of its model."""
    if config.reclass is None:
        return scene
    # brings YAML, which a run without does not need
    from segment_tiles.workflows.options.reclass_file import read_targets  # noqa: PLC0415

    targets = read_targets(config.reclass)
    reclass = reclass_of(targets, scene.decided.classes, f"model {scene.manifest.name}")
    check_codes_of_run(reclass)
    return replace(scene, reclass=reclass)


def _check_cluster(config: RunConfig) -> None:
    """Refuse a cluster file that cannot be accepted."""
    if config.cluster is not None:
        # brings Dask, which a run in this process does without
        from segment_tiles.workflows.executors.dask_cluster.cluster_file import read_cluster_file  # noqa: PLC0415

        read_cluster_file(config.cluster)
