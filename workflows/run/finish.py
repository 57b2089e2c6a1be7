"""What follows the computation: overviews, further formats, preview, STAC item."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from segment_tiles.pipeline.durable import remove
from segment_tiles.pipeline.errors import one_line
from segment_tiles.pipeline.models.calibration.calibrated import calibrated_folder
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.plans.memory_plan import finishing_bytes
from segment_tiles.workflows.process_memory import release_after, share_arenas
from segment_tiles.workflows.regions.loaded_model import forget_segmenters
from segment_tiles.workflows.results.finished_report import finished_report, has_all_outputs
from segment_tiles.workflows.results.formats.format import Work
from segment_tiles.workflows.results.formats.make import make_formats, missing_results
from segment_tiles.workflows.results.formats.subjects import format_options, subject_of_scene
from segment_tiles.workflows.results.formats.table import files_of
from segment_tiles.workflows.results.item import ITEM, write_run_item
from segment_tiles.workflows.results.picture import PREVIEW, try_preview
from segment_tiles.workflows.results.report import read_report, write_report
from segment_tiles.workflows.run.run import Run
from segment_tiles.workflows.run.taken_up import give_store_its_name, is_store_kept


def is_finished(directory: OutputDirectory, config: RunConfig) -> bool:
    """Return whether a run came to its end here, and its results are there still.

    The report lists all outputs, and is complete only then. Of the store, the sizes of all files are compared.
    """
    if not has_all_outputs(directory) or not is_store_kept(directory, sizes_only=True):
        return False
    if any(name not in left_out(config) for name in (read_report(directory) or {}).get("left_out", ())):
        return False
    return not missing_results(directory, config.formats, format_options(config))


def left_out(config: RunConfig) -> list[str]:
    """Return the results that a user does without."""
    return [name for name, is_wanted in ((PREVIEW, config.preview), (ITEM, config.item)) if not is_wanted]


def finish(run: Run, report: dict[str, Any]) -> dict[str, Any]:
    """Make everything that is not there yet, and return the report with outputs and times.

    Parameters
    ----------
    run
        Its store is whole but for what the Kind adds to it, or under its final name already.
    report
        As it was after the computation, or after an earlier start that finished.

    Raises
    ------
    RunFailedError
        If the source has changed meanwhile: the preview shows it, and nothing more is called complete.
    """
    with run.in_flight.finishing(finishing_bytes(run.config, run.scene)):
        begun = perf_counter()
        outputs, notes = _made(run, report)
    run.known.require_same(or_gone=True)
    report = finished_report(run.directory, report, outputs, notes, started=run.started, begun=begun)
    report["left_out"] = [name for name in left_out(run.config) if name not in report["outputs"]]
    write_report(run.directory, report)
    if ITEM in outputs:
        run.listener.stage("item")
        write_run_item(run.directory, run.scene, report)
    return report


def _made(run: Run, report: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Make store, formats and preview; return the names of all outputs, and what could not be made."""
    config, scene, directory, kind, stage = run.config, run.scene, run.directory, run.kind, run.listener.stage
    forget_segmenters()
    release_after(report)
    share_arenas()
    if not directory.store.exists():
        kind.complete_store(scene, directory, stage)
        give_store_its_name(directory)
    kind.remove_scores(scene, directory)
    group = open_store(directory.store)
    traced = directory.traced if run.is_traced_ahead else None
    work = Work(
        directory.path, group, report, subject_of_scene(config, scene), stage, config.workers or 1, traced
    )
    notes = make_formats(work, missing_results(directory, config.formats, format_options(config)))
    release_after(report)
    picture: list[str] = []
    if config.preview:
        stage("preview")
        picture, cannot = try_preview(
            directory, lambda path: kind.picture(path, scene, directory, group, report)
        )
        notes += cannot
    notes += _without_leftovers(directory)
    for note in notes:
        run.listener.warn(note)
    kind.remove_copies(directory)
    remove(calibrated_folder(directory.own))
    remove(directory.traced)
    files = [file.name for file in files_of(config.formats, directory.path)]
    has_item = kind.is_placed and config.item
    return [*files, *picture, directory.report.name, *([ITEM] if has_item else [])], notes


def _without_leftovers(directory: OutputDirectory) -> list[str]:
    """Remove what killed workers left, on any machine; others did their tasks. Return what could not be removed."""
    try:
        directory.remove_leftovers()
    except OSError as error:  # of another user's worker; the results are whole
        return [
            f"{directory.path}: what a killed worker left cannot be removed ({one_line(error)}); remove it"
        ]
    return []
