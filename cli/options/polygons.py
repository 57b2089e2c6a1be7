"""Options of ``segment-tiles polygonize``: names, metavars and help in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AREA = "AREA"
AREA_HELP = "AREA is 25px, or a number of square metres (of square units where there is no CRS)."

Raster = Annotated[
    str,
    typer.Argument(
        metavar="RASTER",
        help="classes.zarr, the folder of a run, or a raster of integer classes: a file, a URL, /vsizip/..., "
        "NETCDF:FILE:VARIABLE.",
    ),
]
Band = Annotated[
    int | None,
    typer.Option("--band", metavar="N", help="Band of classes, from 1, in a raster of several bands."),
]
Out = Annotated[
    list[Path],
    typer.Option(
        "--out",
        metavar="FILE",
        help="May be repeated: .parquet .gpkg .fgb .geojson .geojsonl .qupath.geojson .pmtiles",
    ),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Format of each --out where its ending does not say it: parquet, gpkg, qupath, ...",
    ),
]
Connectivity = Annotated[
    int,
    typer.Option("--connectivity", metavar="4|8", help="4: pixels share an edge; 8: a corner is enough."),
]
Classes = Annotated[
    str | None,
    typer.Option("--classes", metavar="A,B", help="Names or codes of the classes wanted; default: all."),
]
Background = Annotated[
    str | None, typer.Option("--background", metavar="CLASS", help="A class that becomes no feature.")
]
Majority = Annotated[
    int,
    typer.Option("--majority", metavar="PX", help="Majority smoothing in a square of this odd side, first."),
]
Sieve = Annotated[
    str,
    typer.Option(
        "--sieve", metavar=AREA, help=f"Smaller ones take the class of their largest neighbour. {AREA_HELP}"
    ),
]
MinimumHole = Annotated[
    str, typer.Option("--min-hole", metavar=AREA, help="Smaller holes take the class around them.")
]
MinimumArea = Annotated[str, typer.Option("--min-area", metavar=AREA, help="Smaller features are left out.")]
Simplify = Annotated[
    str,
    typer.Option(
        "--simplify",
        metavar="LENGTH",
        help="Simplify shared borders; none moves farther than this: 2px, or metres. Default: exact pixel edges.",
    ),
]
RightAngles = Annotated[
    str | None,
    typer.Option(
        "--right-angles", metavar="A,B", help="Classes whose outlines become right-angled (buildings)."
    ),
]
VectorTile = Annotated[
    int,
    typer.Option(
        "--vector-tile",
        metavar="PX",
        help="Side of the tiles worked on; changes memory, never the features.",
    ),
]
Workers = Annotated[int, typer.Option("--workers", metavar="N", help="Processes.")]
LevelScale = Annotated[
    float,
    typer.Option("--level-scale", metavar="F", help="QuPath: full-resolution pixels in a pixel of RASTER."),
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Forget the finished tiles of an interrupted request.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no summary.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
