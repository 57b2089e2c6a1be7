"""Writes docs/command-line.md from commands and formats: `python -m segment_tiles.cli.reference FILE`.

The page is the help of every command as a terminal of 100 columns shows it, and the table of Formats, so it cannot
say anything else than the program does; a test compares the two.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLUMNS = 100
HEADER = """# Command line

Written by `make reference` from the commands; do not edit. stdout carries results (`--json`: one JSON
document), stderr carries progress, warnings and errors. Exit status: 0 all done; 1 something failed, the
failures are listed; 2 bad usage or input, said in one line; 130 interrupted, the same command goes on.
"""


def reference() -> str:
    """Return the page as Markdown."""
    os.environ["COLUMNS"] = os.environ["TERMINAL_WIDTH"] = str(COLUMNS)
    import typer

    from segment_tiles.cli.main import app

    root = typer.main.get_command(app)
    parts = [HEADER]
    for path, command in _commands("segment-tiles", root):
        parts.append(f"## {path}\n\n```text\n{_help(path, command)}\n```\n")
    return "\n".join([*parts, _formats()])


def _formats() -> str:
    """Return the table of what ``--format`` accepts."""
    from segment_tiles.workflows.results.formats.table import format_names, format_of

    lines = [
        "## Formats",
        "",
        "What `--format` accepts; a format of another package is there once that is installed (`architecture.md`).",
        "",
        "| `--format` | file | of | what it is | needs |",
        "|---|---|---|---|---|",
    ]
    for known in map(format_of, format_names()):
        needs = f"`{known.requirement}`" if known.requirement else ""
        lines.append(
            f"| `{known.name}` | `{known.file}` | {', '.join(known.kinds)} | {known.title} | {needs} |"
        )
    return "\n".join(lines) + "\n"


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(f"{path} {name}", child)


def _help(path: str, command: Any) -> str:
    context = command.context_class(
        command, info_name=path, terminal_width=COLUMNS, max_content_width=COLUMNS
    )
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
