"""Which features belong together across vector tiles, and to which tile: seconds, for more and more tiles.

    python -m benchmarks.polygons.joins [--sides 4096 8192] [--tiles 1024 256 64] [--repeat 3]

The class raster is random noise, the worst there is: nearly every pixel at a seam is a feature of its own. Only what
is done for all tiles at once is timed, in one process: `join_across_seams` and `join_tasks`. Linear means that the
last column stays the same.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from benchmarks.shared.commands import arguments_of
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.vectors.geometry.components import label_components
from segment_tiles.pipeline.vectors.geometry.pieces import (
    SeamPieces,
    attributes_in_tile,
    reaches_seam,
    seam_pieces,
)
from segment_tiles.pipeline.vectors.geometry.seams import join_across_seams
from segment_tiles.pipeline.vectors.join_tasks import join_tasks
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection
from segment_tiles.pipeline.vectors.tiling import VectorTiling

CLASSES = 6
CONNECTIVITY = 4


def seams_of_noise(tiling: VectorTiling) -> list[SeamPieces]:
    """Return what every tile of a random class raster says of its sides."""
    codes = np.random.default_rng(0).integers(0, CLASSES, (tiling.height, tiling.width), dtype=np.uint8)
    spec = ClassRasterSpec(tiling.height, tiling.width, "uint8", 255, GeoRef.of_pixels())
    seams = []
    for tile in tiling:
        part = codes[tile.window.slices()]
        components = label_components(part, ClassSelection(None, (255,)), CONNECTIVITY)
        attributes = attributes_in_tile(components, part, spec, tile.window)
        on_seam = reaches_seam(components, spec, tile.window)
        seams.append(seam_pieces(components.labels, part, attributes, on_seam, spec))
    return seams


def timed(tiling: VectorTiling, seams: list[SeamPieces], repeat: int) -> tuple[float, float, int]:
    """Return the seconds of both steps, medians, and the number of features."""
    joins, divisions = [], []
    for _ in range(repeat):
        started = time.perf_counter()
        joined = join_across_seams(tiling, seams, CONNECTIVITY)
        joins.append(time.perf_counter() - started)
        started = time.perf_counter()
        join_tasks(tiling, joined, ClassSelection(None, ()), PolygonizeOptions())
        divisions.append(time.perf_counter() - started)
    return statistics.median(joins), statistics.median(divisions), len(joined.attributes)


def main() -> None:
    """Print a line for each side and tile."""
    parser = arguments_of(__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[4096, 8192])
    parser.add_argument("--tiles", type=int, nargs="+", default=[1024, 256, 64])
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    print("  side  tile   tiles     pieces   features   join s  divide s  us/piece")
    for side in arguments.sides:
        for tile in arguments.tiles:
            tiling = VectorTiling(side, side, tile)
            seams = seams_of_noise(tiling)
            pieces = sum(len(part.labels) for part in seams)
            join, divide, features = timed(tiling, seams, arguments.repeat)
            print(
                f"{side:>6}{tile:>6}{tiling.count:>8}{pieces:>11,}{features:>11,}{join:>9.2f}{divide:>10.2f}"
                f"{(join + divide) / pieces * 1e6:>10.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
