"""Memory of one worker, written down: bytes of everything that a Region holds at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.grid_map import PIXELS_AT_ONCE
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.dicom.segmentation import takes
from segment_tiles.pipeline.outputs.stores.store import SHARD_ROWS
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.scenes.cut import Cut
from segment_tiles.workflows.scenes.mask_area import mask_bytes
from segment_tiles.workflows.scenes.scene import Scene

SMALLEST_READ_CACHE = 8 * 2**20
"""Bytes of GDAL's cache where rows of source chunks are small."""
HANDLES_AT_MOST = 4
"""Of a source: each takes what it needs on the way of its own."""
ROWS_OF_SHARDS = 3
"""One fills up, one is compressed and written, and its compressed form."""
INPUT_BANDS = 3
"""One is computed, one is read ahead, and what GDAL hands over on the way."""


FINISHING_BYTES = 448 * 2**20
"""What overviews, COG and polygons take after the computation of a raster of any size; measured by
``benchmarks/memory.py``."""
KEPT_BYTES = 160 * 2**20
"""Of what a batch took, what libraries keep at most when it is done: weights in other orders, buffers of threads.
Measured as 95 to 127 MiB for ``canopy-rgb`` in torch on two cores."""
SMALL_FINISHING_BYTES, FINISHING_BYTES_OF_PIXEL = 64 * 2**20, 48
"""Of a small raster: less than that, for it is held as a whole; an estimate from above."""


def finishing_of(pixels: int) -> int:
    """Return the bytes that finishing takes of a result of so many pixels."""
    return min(FINISHING_BYTES, SMALL_FINISHING_BYTES + FINISHING_BYTES_OF_PIXEL * pixels)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes of one worker, by what takes them."""

    program: int
    """Interpreter, libraries and weights; measured."""
    batch: int
    """Activations of one forward pass; measured."""
    accumulator: int
    """classes x overlap x width, float32."""
    input_bands: int
    """Pixels and masks of rows of tiles."""
    read_cache: int
    """GDAL's cache: one row of source chunks twice, so that no chunk is decoded twice."""
    finished_rows: int
    """Rows of codes and confidence on their way to disk, and what is kept of the source for its picture."""
    finishing: int = FINISHING_BYTES
    """Of what follows the computation, when the rest is free again but for the program and what is kept of a batch."""
    volume: int = 0
    """Slices of a volume that are held together, and what reading them takes on the way."""
    calibrating: int = 0
    """What calibrating for int8 takes, before all else."""
    tracing: int = 0
    """Of a process that traces polygons of finished rows beside the computation; 0: there is none."""

    @property
    def computing(self) -> int:
        """What the computation takes beside the program, with the volume."""
        rows = self.accumulator + self.input_bands + self.read_cache + self.finished_rows
        return self.batch + rows + self.volume

    @property
    def total(self) -> int:
        """The program, and the largest of calibrating, of computing and what goes on beside it, and of finishing.

        Finishing has what is kept of a batch.
        """
        finishing = min(self.batch, KEPT_BYTES) + self.finishing
        return self.program + max(self.calibrating, self.computing + self.tracing, finishing)


def memory_of_region(
    cut: Cut,
    region: Window,
    *,
    classes: int,
    code_size: int,
    with_scores: int,
    program: int,
    batch: int,
    thumbnail: int = 0,
    mask_code: int = 0,
) -> MemoryPlan:
    """Return the bytes that a Region of this width takes; its height does not matter.

    Parameters
    ----------
    cut
        Of which it is.
    region
        In pixels of the result.
    classes, code_size, with_scores
        Of the result: number of classes, bytes of a code, whether scores are kept (2: and a mask of each class).
    program, batch
        Measured bytes.
    thumbnail
        Bytes of what is kept for a picture of the source.
    mask_code
        Bytes of a code in the map of another model that limits this one; 0: there is none.
    """
    lattice, spec, read = cut.lattice, cut.spec, cut.read_for(region)
    indices = lattice.columns.covering(read.column, read.column_stop)
    width = (len(indices) - 1) * lattice.columns.stride + lattice.tile
    pixel = spec.bands * spec.item_size
    lacking = 0 if spec.has_no_holes or spec.bands == 1 else spec.bands  # which values single bands lack
    per_result_pixel = code_size + 1 + classes * int(with_scores)
    return MemoryPlan(
        program,
        batch,
        # float32: `up` is as wide as the band, `left` as high as a tile, one more for the mean on its way
        4 * classes * lattice.shared * (width + 2 * lattice.tile),
        INPUT_BANDS * lattice.tile * width * (pixel + 2 + lacking)
        + HANDLES_AT_MOST * spec.work_bytes
        + _mask_bytes(cut)
        + (_bytes_of_mask(cut, region, mask_code) if mask_code else 0),
        cut_cache_bytes(cut, width),
        per_result_pixel * (ROWS_OF_SHARDS * SHARD_ROWS * region.width + 2 * lattice.tile * width)
        + thumbnail,
    )


def _bytes_of_mask(cut: Cut, region: Window, code_size: int) -> int:
    """Return what the map of another model takes that limits this one: it is asked for by rows of tiles."""
    tile = math.ceil(cut.lattice.tile * cut.map.rows.factor)
    return mask_bytes(cut.roi.width, (min(tile, cut.roi.height), region.width), code_size)


def _mask_bytes(cut: Cut) -> int:
    """Return what it takes to bring rows to another grid: a few of them, and what is read for their mask."""
    if cut.result_grid is None:
        return 0
    spec = cut.result_grid.spec
    return PIXELS_AT_ONCE * (spec.bands * spec.item_size + 16)


def cut_cache_bytes(cut: Cut, width: int) -> int:
    """Return the size of GDAL's cache for reads of this width, in whole MiB; a mask is read apart from the values."""
    is_masked = cut.result_grid is not None and cut.result_grid.mask_opener is not None
    return read_cache_bytes(cut.spec, width) * (2 if is_masked else 1)


def read_cache_bytes(spec: RasterSpec, width: int) -> int:
    """Return the size of GDAL's cache for reads of this width, in whole MiB."""
    rows, columns = spec.chunk
    across = min(-(-width // columns) + 1, -(-spec.width // columns)) * columns
    needed = max(SMALLEST_READ_CACHE, 2 * rows * across * spec.cached_bytes)
    return -(-needed // 2**20) * 2**20


def code_bytes(*tables: ClassTable) -> int:
    """Return the bytes of a code in the largest of tables: as codes are given, and as they are stored."""
    return max(int(np.dtype(table.dtype).itemsize) for table in tables)


def finishing_bytes(config: RunConfig, scene: Scene) -> int:
    """Return bytes of what follows the computation: of a slide with a whole map in memory for DICOM SEG."""
    pixels = scene.roi.area * scene.result.planes
    if "dicom-seg" not in config.formats:
        return finishing_of(pixels)
    return finishing_of(pixels) + _segments_bytes(config, scene, pixels)


def _segments_bytes(config: RunConfig, scene: Scene, pixels: int) -> int:
    table = scene.classes
    return takes(table.count - 1, config.dicom_seg) * pixels * int(np.dtype(table.dtype).itemsize)
