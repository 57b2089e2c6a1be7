"""Options that several commands share and no configuration has: how a command speaks, and of which model."""

from __future__ import annotations

from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no summary; warnings and errors remain.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Bundled model, or folder of a model package.")]
