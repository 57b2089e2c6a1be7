"""The report at the end of a run: the times of all its starts together, and every output that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.output_folder.made import objects_of, ways_of
from segment_tiles.workflows.process_memory import peak_resident_bytes
from segment_tiles.workflows.results.report import read_report

MADE_WITH: Final = "made_with"
OBJECTS: Final = "objects"
"""Entry of a report: format -> options with which its file was made, if they are not the usual ones."""


def finished_report(
    directory: OutputDirectory,
    report: dict[str, Any],
    outputs: Sequence[str],
    notes: Sequence[str],
    *,
    started: float,
    begun: float,
) -> dict[str, Any]:
    """Return a report with what finishing adds to it.

    Parameters
    ----------
    directory
        Of the run: formats that an earlier start or `export` made are outputs too.
    report
        As it was after the computation, or after an earlier start.
    outputs, notes
        What this start made or found, and what the user should know of it.
    started, begun
        ``perf_counter`` at the start of the program, and of finishing.
    """
    before = [*report.get("outputs", ()), *(read_report(directory) or {}).get("outputs", ())]
    earlier = [name for name in before if name not in outputs and is_there(directory.path / name)]
    seconds = dict(report["seconds"])
    seconds["finish"] = round(seconds.get("finish", 0.0) + perf_counter() - begun, 3)
    seconds["total"] = round(seconds.get("total", 0.0) + perf_counter() - started, 3)
    memory = {**report["memory"], "peak_bytes": max(report["memory"]["peak_bytes"], peak_resident_bytes())}
    warnings = [*report["warnings"], *(note for note in notes if note not in report["warnings"])]
    return {
        **with_books(directory.own, report),
        "seconds": seconds,
        "memory": memory,
        "warnings": warnings,
        "outputs": [*dict.fromkeys([*outputs, *earlier])],
    }


def with_books(own: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report with what the books of the run say of files beside the map: how they were made, and objects."""
    ways, objects = ways_of(own), objects_of(own)
    return {
        **{name: value for name, value in report.items() if name not in {MADE_WITH, OBJECTS}},
        **({OBJECTS: objects} if objects else {}),
        **({MADE_WITH: ways} if ways else {}),
    }


def is_there(path: Path) -> bool:
    """Return whether a result is there; a file that was emptied is not."""
    return path.is_dir() or (path.is_file() and path.stat().st_size > 0)


def has_all_outputs(directory: OutputDirectory) -> bool:
    """Return whether the report can be read, calls the run complete, and everything that it lists is there."""
    report = read_report(directory)
    if report is None or report.get("status") != "complete":
        return False
    return all(is_there(directory.path / name) for name in report.get("outputs", ()))
