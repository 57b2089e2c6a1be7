"""`segment-tiles export`: further formats from a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segment_tiles.cli.options import common as options
from segment_tiles.cli.terminal.console import print_json


def command(
    run_directory: Annotated[Path, typer.Argument(metavar="DIR", help="Output directory of a finished run.")],
    formats: options.Format,
    labels_inside: options.LabelsInside = False,
    dicom_seg: options.DicomSeg = "binary",
    json: options.Json = False,
) -> None:
    """Make further formats from a finished run, without computing anything again."""
    from segment_tiles.workflows.config import parse_dicom_seg, parse_formats
    from segment_tiles.workflows.run.export import export_run

    written = export_run(
        run_directory,
        parse_formats(formats),
        labels_inside=labels_inside,
        dicom_seg=parse_dicom_seg(dicom_seg),
    )
    if json:
        print_json({"out": str(run_directory), "written": written})
        return
    for name in written:
        print(run_directory / name)
