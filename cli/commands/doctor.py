"""`segment-tiles doctor`: what this machine offers."""

from __future__ import annotations

from segment_tiles.cli.options import common as options
from segment_tiles.cli.terminal.console import print_json, text_console


def command(json: options.Json = False) -> None:
    """Say what this machine offers: devices, precisions, memory, drivers, extras."""
    from segment_tiles.workflows.run.describe import describe_machine

    document = describe_machine()
    if json:
        print_json(document)
        return
    from rich.table import Table

    table = Table(show_header=False)
    for name, value in document.items():
        shown = ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)
        if isinstance(value, dict):
            shown = "\n".join(f"{key}: {part}" for key, part in value.items())
        table.add_row(name, shown)
    text_console().print(table)
