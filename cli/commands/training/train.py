"""segment-tiles train."""

from __future__ import annotations

from segment_tiles.cli.options.common import Json, Quiet
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import print_json, text_console
from segment_tiles.workflows.options.declare import options_of
from segment_tiles.workflows.options.training import TrainConfig, train_config_from


@logged
@with_options(options_of(TrainConfig))
def command(options: Given, quiet: Quiet = False, json: Json = False) -> None:
    """Train a model from labelled scenes; under torchrun on several GPUs."""
    config = train_config_from(**options)
    from segment_tiles.cli.terminal.training_progress import ConsoleProgress, score_table
    from segment_tiles.workflows.buckets.address import shown_out
    from segment_tiles.workflows.buckets.commands.train import train_as_asked
    from segment_tiles.workflows.training.report import report_document

    with ConsoleProgress(quiet=quiet) as progress:
        report = train_as_asked(config, progress)
    if not report.scores:  # a further process of torchrun: the first one speaks
        return
    if json:
        print_json(report_document(report) | {"model": shown_out(report.model)})
        return
    console = text_console()
    console.print(score_table(report))
    console.print(f"Model package: {shown_out(report.model)}")
