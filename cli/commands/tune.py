"""`segment-tiles tune`: measure how a model runs fastest on this machine, and keep it for `run`."""

from __future__ import annotations

from segment_tiles.cli.options.common import Json
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import print_json, text_console
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.declare import chosen, options_of
from segment_tiles.workflows.options.keywords import values_of
from segment_tiles.workflows.options.tuning import TuneConfig

OF_RUN = chosen(
    RunConfig,
    "device",
    "trust",
    "bands",
    "nodata",
    "nodata_rule",
    "alpha",
    "level",
    "resolution",
    "mpp",
    "source_mpp",
)
"""Options that mean what they mean for `run`; most for the scenes of ``--calibrate``."""
OF_TUNE = options_of(TuneConfig)


@logged
@with_options((*OF_TUNE, *OF_RUN))
def command(options: Given, json: Json = False) -> None:
    """Measure backend, precision, tile and batch of a model; `run` takes the fastest if told nothing else."""
    names = {option.keyword for option in OF_TUNE}
    config = TuneConfig(**values_of(OF_TUNE, {name: options.pop(name) for name in names & options.keys()}))
    of_run = values_of(OF_RUN, options)
    from segment_tiles.workflows.plans.compute.tune import tune

    document = tune(config, **of_run)
    if json:
        print_json(document)
        return
    from rich.table import Table

    table = Table("backend", "precision", "tile", "batch", "ms per tile", "ns per useful pixel", "agreement")
    for row in document["measured"]:
        figures = [row["refused"], "", ""]
        if not row["refused"]:
            figures = [
                f"{1e3 * row['seconds_per_tile']:.1f}",
                f"{row['nanoseconds_per_pixel']:.1f}",
                f"{row['agreement']:.2%}",
            ]
        table.add_row(row["backend"], row["precision"], str(row["tile"]), str(row["batch"]), *figures)
    console, chosen = text_console(), document["chosen"]
    console.print(table)
    console.print(
        f"kept for {document['model']} on {document['device_name']}: {chosen['backend']} in "
        f"{chosen['precision']}, tiles of {chosen['tile']} px, batches of {chosen['batch']}",
        highlight=False,
    )
