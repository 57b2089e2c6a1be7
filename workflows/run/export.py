"""Further formats from a finished run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import zarr

from segment_tiles.pipeline.accepted import DicomSegKind
from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.decision import decision_of
from segment_tiles.pipeline.grid.reclass import Reclass, check_codes_of_run, reclass_of
from segment_tiles.pipeline.outputs.stores.store import open_store, read_class_table
from segment_tiles.workflows.options.decision import named_score
from segment_tiles.workflows.options.pixels import MapGridSettings
from segment_tiles.workflows.options.polygons import PolygonSettings
from segment_tiles.workflows.options.reclass_file import read_targets
from segment_tiles.workflows.output_folder.check import refuse_url
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.output_folder.made import ways_of
from segment_tiles.workflows.polygons.polygonize import KINDS
from segment_tiles.workflows.results.finished_report import is_there, with_books
from segment_tiles.workflows.results.formats.check import (
    check_formats,
    notes_on_grid,
    notes_on_other_grids,
)
from segment_tiles.workflows.results.formats.decided import Decided, classes_of_scores, refuse_reclassed
from segment_tiles.workflows.results.formats.format import FormatOptions, Work, tell_nobody
from segment_tiles.workflows.results.formats.make import make_decided
from segment_tiles.workflows.results.formats.subjects import subject_of_result
from segment_tiles.workflows.results.formats.table import files_of
from segment_tiles.workflows.results.item import check_run_item, update_run_item
from segment_tiles.workflows.results.report import read_report, write_report
from segment_tiles.workflows.run.taken_up import is_store_kept

BY_CLASS: Final = tuple(f"{kind}." for kind in KINDS)
"""Beginnings of files that may be one for each class."""

log = logging.getLogger(__name__)


def export_run(
    path: Path,
    formats: Sequence[str],
    *,
    labels_inside: bool = False,
    dicom_seg: DicomSegKind = "binary",
    threshold: tuple[str, ...] = (),
    unsure: float | None = None,
    reclass: Path | None = None,
    crs: str | None = None,
    like: str | None = None,
    warp: str = "nearest",
    **polygons: Any,
) -> list[str]:
    """Make formats, replacing older files of these names, and return the names of the files.

    ``labels_inside`` puts OME-Zarr labels into the OME-Zarr source of the run; ``dicom_seg``
    says how the segments of DICOM SEG are stored; ``threshold`` and ``unsure`` give classes anew, from the scores that
    the run kept; ``reclass`` is a file that says what becomes of the classes, in the
    files that are made: store and report stay; ``crs`` or ``like``, with ``warp``, give their grid, as in
    `MapGridSettings`; ``polygons`` are fields of `PolygonSettings`.

    Raises
    ------
    OutputError
        If the folder holds no finished run, or one whose store is not what was written.
    UsageError
        If the class map cannot have one of the formats.
    """
    refuse_url(path, "DIR")
    directory = OutputDirectory(path)
    if not directory.store.is_dir() or not directory.report.is_file():
        msg = f"{path}: holds no finished run; give the --out of a run that ended with exit status 0"
        raise OutputError(msg)
    with directory.locked_for():
        report = read_report(directory)
        if report is None or (directory.seals.exists() and not is_store_kept(directory)):
            what = directory.report if report is None else directory.store
            msg = f"{what}: is damaged; start the same run again, which makes it whole"
            raise OutputError(msg)
        check_run_item(directory)
        group = open_store(directory.store)
        decided = _decided(threshold, unsure, group, report)
        table = read_class_table(group) if decided is None else decided.table
        reclassed = None if reclass is None else _reclass(reclass, table)
        settings = PolygonSettings(**polygons)
        grid = MapGridSettings(crs=crs, like=like, warp=warp).map_grid
        options = FormatOptions(labels_inside, dicom_seg, settings, decided, reclassed, grid)
        subject = subject_of_result(group, report, options)
        check_formats(formats, subject)
        notes = [*notes_on_grid(formats, subject)]
        notes += notes_on_other_grids(ways_of(directory.own), formats, subject)
        notes += make_decided(Work(path, group, report, subject, tell_nobody), formats)
        written = [file.name for file in files_of(formats, path)]
        report = {
            **with_books(directory.own, report),
            "warnings": [*report["warnings"], *(n for n in notes if n not in report["warnings"])],
            "outputs": [*dict.fromkeys([*_still_there(path, report["outputs"]), *written])],
        }
        write_report(directory, report)
        update_run_item(directory, group, report)
        log.info("%s: written: %s", path, ", ".join(written))
    return written


def _still_there(path: Path, outputs: Sequence[str]) -> list[str]:
    """Return outputs without polygons that are made otherwise now: in one file, or by class."""
    return [name for name in outputs if not name.startswith(BY_CLASS) or is_there(path / name)]


def _decided(
    threshold: Sequence[str], unsure: float | None, group: zarr.Group, report: Mapping[str, Any]
) -> Decided | None:
    """Return by which thresholds classes are given anew; nothing is counted yet."""
    if not threshold and unsure is None:
        return None
    classes = classes_of_scores(group)
    refuse_reclassed(report["settings"])
    named = map(named_score, threshold)
    decision = decision_of(named, unsure, classes, "the run", multi_label="masks" in group)
    return None if decision is None else Decided(decision, decision.table(classes), ())


def _reclass(path: Path, table: ClassTable) -> Reclass:
    found = reclass_of(read_targets(path), table.classes, "the run")
    check_codes_of_run(found)
    return found
