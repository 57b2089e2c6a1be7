"""segment-tiles learning-rate."""

from __future__ import annotations

from segment_tiles.cli.options.common import Json
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import print_json, text_console
from segment_tiles.workflows.options.declare import options_of
from segment_tiles.workflows.options.training import RateConfig, rate_config_from


@logged
@with_options(options_of(RateConfig))
def command(options: Given, json: Json = False) -> None:
    """Search the learning rate of a training in a few steps."""
    config = rate_config_from(**options)
    from segment_tiles.workflows.training.learning_rate import learning_rate_as_asked

    found = learning_rate_as_asked(config)
    if json:
        print_json(found)
        return
    text_console().print(
        f"optimizer.learning_rate: {found['learning_rate']:g} (the configuration has "
        f"{found['in_the_configuration']:g}); the loss falls fastest there, of {len(found['tried'])} that were tried"
    )
