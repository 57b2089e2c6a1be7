"""`segment-tiles run`: a raster and a model in, maps and polygons out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from segment_tiles.cli.imports import importing
from segment_tiles.cli.options.common import Json, Quiet
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import Console, print_json, text_console
from segment_tiles.workflows.buckets.address import shown_out
from segment_tiles.workflows.config import RunConfig, run_config_from
from segment_tiles.workflows.options.declare import options_of


@logged
@with_options(options_of(RunConfig))
def command(options: Given, quiet: Quiet = False, json: Json = False) -> None:
    """Segment a raster, or every picture of a folder; a run that was stopped goes on where it was."""
    config = run_config_from(**options)
    if config.may_be_several and run_several(config, quiet=quiet, json=json):
        return
    with importing():
        from segment_tiles.workflows.executors import executor_for

    with Console(quiet=quiet or json) as console, executor_for(config, console.note) as executor:
        # after the executor, whose worker processes start while this process imports torch
        with importing():
            from segment_tiles.workflows.buckets.segment import segment

        result = segment(config, console, executor)
    report = {**result.report, "out": shown_out(config.out), "was_finished": result.was_finished}
    if json:
        print_json(report)
    elif not quiet:
        print_summary(report)
    if result.failures:
        print_failures(result.failures)
        raise typer.Exit(1)


def run_several(config: RunConfig, *, quiet: bool, json: bool) -> bool:
    """Run every picture of a folder, or every head of a model, as `batch` does; False if it is one run."""
    from segment_tiles.cli.commands.batch import report_batch
    from segment_tiles.cli.terminal.batch_progress import BatchConsole

    with importing():
        from segment_tiles.workflows.batch.run import BatchResult, run_jobs
        from segment_tiles.workflows.batch.sources.several import several_jobs
        from segment_tiles.workflows.buckets.address import on_this_disk

    found = several_jobs(config)
    if found is None:
        return False
    results = on_this_disk(config.out)
    with BatchConsole(quiet=quiet or json) as console:
        if found.note is not None:
            console.warn(found.note)
        outcomes = run_jobs(found.jobs, console, results=results, title=found.title)
    report_batch(BatchResult(outcomes, config.out), quiet=quiet, json=json)
    return True


def print_summary(report: dict[str, Any]) -> None:
    """Print what a run found and where it lies."""
    from rich.table import Table

    from segment_tiles.workflows.scenes.registry import kind_of_report

    sizes = kind_of_report(report).sizes(report)
    table = Table("class", sizes.count, sizes.title)
    for entry in [*report["classes"], {**report["nodata"], "name": "nodata"}]:
        size = entry[sizes.size]
        # a micrograph has some hundredths of a square millimetre
        known = "unknown" if size is None else f"{size:,.1f}" if size >= 1 or size == 0 else f"{size:.3g}"
        table.add_row(entry["name"], f"{entry[sizes.count]:,}", known)
    console = text_console()
    console.print(table)
    for line in _about_models(report):
        console.print(line, highlight=False, soft_wrap=True)
    if report["was_finished"]:
        console.print("finished before; nothing was computed (use --restart to begin anew)")
    from segment_tiles.pipeline.wording import counted

    choices, tiles = report["choices"], report["tiles"]
    backend = choices.get("backend", "torch") + (f" ({choices['chosen']})" if choices.get("chosen") else "")
    console.print(
        f"{counted(tiles['computed'], 'tile')} computed, {tiles['skipped']} skipped, on {choices['device_name']} in "
        f"{choices['precision']} by {backend}\n"
        f"{report['seconds'].get('total', 0.0):.1f} s, peak memory {report['memory']['peak_bytes'] / 1e6:.0f} MB",
        highlight=False,
    )
    stages, limit = report["seconds"].get("stages", {}), report["seconds"].get("limit")
    if limit is not None:
        busy = ", ".join(f"{name} {stages.get(name, 0.0):.1f} s" for name in ("read", "compute", "write"))
        console.print(f"busy: {busy}; the limit is {limit}", highlight=False)
    for name in report.get("outputs", []):
        console.print(f"  {report['out']}/{name}", highlight=False, soft_wrap=True)


def _about_models(report: dict[str, Any]) -> Iterator[str]:
    """Yield what is told of the models of a run: what for, what not for, and what a mask left out."""
    if "notice" in report:
        yield report["notice"]
    if report["model"].get("description"):  # reports of earlier versions have none
        yield f"model {report['model']['name']}: {report['model']['description']}"
    if "mask_model" in report:
        mask = report["mask_model"]
        yield (
            f"mask: {mask['pixels_left_out']:,} pixels left out by {mask['model']['name']} "
            f"({', '.join(mask['classes'])} {mask['are']})"
        )


def print_failures(failures: list[dict[str, Any]]) -> None:
    """Print on stderr what could not be done."""
    import sys

    from segment_tiles.pipeline.wording import counted

    for failure in failures:
        window = failure["window"]
        print(
            f"segment-tiles: failed: rows {window['row']} to {window['row'] + window['height']}, columns "
            f"{window['column']} to {window['column'] + window['width']}: {failure['reason']}",
            file=sys.stderr,
        )
    print(
        f"segment-tiles: error: {counted(len(failures), 'part')} failed; finished rows are kept, "
        "the same command tries the rest again",
        file=sys.stderr,
    )
