"""`segment-tiles demo`: a bundled real scene through the bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segment_tiles.cli import options
from segment_tiles.cli.console import Console, print_json
from segment_tiles.cli.run import print_summary


def command(
    out: Annotated[Path, typer.Option("--out", help="Output directory.")] = Path("segment-tiles-demo"),
    device: options.Device = "auto",
    restart: options.Restart = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Map the tree canopy of a real aerial scene: every output, and where to look."""
    from segment_tiles.workflows.demo import demo_config
    from segment_tiles.workflows.segment import segment

    with Console(quiet=quiet or json) as console:
        result = segment(demo_config(out, device, restart=restart), console)
    report = {**result.report, "out": str(out), "was_finished": result.was_finished}
    if json:
        print_json(report)
    elif not quiet:
        print_summary(report)
        print(
            f"\nlook first at {out}/preview.png; open {out}/classes.tif and {out}/polygons.parquet in QGIS;\n"
            f"your own scene: segment-tiles run SCENE.tif --model canopy-rgb --out RESULT"
        )
