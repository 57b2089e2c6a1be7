"""segment-tiles evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segment_tiles.cli.options.common import Json
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import print_json, text_console
from segment_tiles.workflows.options.declare import options_of
from segment_tiles.workflows.options.evaluation import EvaluateConfig, evaluate_config_from


@logged
@with_options(options_of(EvaluateConfig))
def command(options: Given, json: Json = False) -> None:
    """Score a class map, or objects, against the truth."""
    config = evaluate_config_from(**options)
    from segment_tiles.workflows.buckets.commands.evaluate import evaluate_as_asked

    document = evaluate_as_asked(config)
    if json:
        print_json(document)
    else:
        _print_tables(document)


def _print_tables(document: Mapping[str, Any]) -> None:
    from segment_tiles.cli.terminal.evaluation_table import evaluation_tables
    from segment_tiles.cli.terminal.object_table import object_tables

    console = text_console()
    for table in evaluation_tables(document) if "confusion" in document else object_tables(document):
        console.print(table)
    for note in document["notes"]:
        console.print(note)
