"""`segment-tiles demo`: bundled real data through a bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segment_tiles.cli.commands.run import print_summary
from segment_tiles.cli.imports import importing
from segment_tiles.cli.options.common import Json, Quiet
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import Console, print_json
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.declare import chosen
from segment_tiles.workflows.options.keywords import values_of

LOOK = {
    "canopy": (
        "\nlook first at {out}/preview.png; open {out}/classes.tif and {out}/polygons.parquet in QGIS;\n"
        "your own scene: segment-tiles run SCENE.tif --model canopy-rgb --out RESULT"
    ),
    "brain": (
        "\nlook first at {out}/preview.png: slices of the scan beside grey and white matter;\n"
        "lay {out}/classes.nii.gz over the scan in ITK-SNAP, 3D Slicer or FSLeyes (same affine); millilitres per\n"
        "class are in {out}/report.json, confidence in {out}/classes.zarr;\n"
        "the scan: MNI ICBM 152 template, Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre,\n"
        "Montreal Neurological Institute, McGill University;\n"
        "your own scan: segment-tiles run SCAN.nii.gz --model brain-tissue --out RESULT"
    ),
}
"""Where to look at the results of each demo."""


OF_RUN = chosen(RunConfig, "device", "restart")
"""Options that mean what they mean for `run`."""


@logged
@with_options(OF_RUN)
def command(
    *,
    name: Annotated[
        str, typer.Argument(metavar="[canopy|brain]", help="An aerial scene, or a slab of a brain scan.")
    ] = "canopy",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Output directory; default: segment-tiles-demo, with -brain for brain."),
    ] = None,
    options: Given,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Map the tree canopy of a real aerial scene, or the tissue of a brain: every output, and where to look."""
    of_run = values_of(OF_RUN, options)
    with importing():
        from segment_tiles.workflows.demo import demo_config
        from segment_tiles.workflows.run.segment import segment

    config = demo_config(out, name=name, **of_run)
    with Console(quiet=quiet or json) as console:
        result = segment(config, console)
    report = {**result.report, "out": str(config.out), "was_finished": result.was_finished}
    if json:
        print_json(report)
    elif not quiet:
        print_summary(report)
        print(LOOK[name].format(out=config.out))
