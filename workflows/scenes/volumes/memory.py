"""Memory that reading a volume takes, block by block."""

from __future__ import annotations

from typing import Final

import numpy as np

from segment_tiles.pipeline.grid.volume import Slicing, VolumeSpec
from segment_tiles.pipeline.sources.volumes.slices import slices_at_once
from segment_tiles.pipeline.sources.volumes.volume import block_depth, is_read_whole

BLOCKS: Final = 4
"""Parts of a volume in memory at once: one that is computed, the next with its copies; of DICOM the files too."""
READ_WHOLE_TAKES: Final = 2
"""Bytes per byte of a volume that no library reads in parts."""


def held_bytes(uri: str, volume: VolumeSpec, slicing: Slicing, neighbours: int) -> int:
    """Return the bytes that reading a volume takes; how many slices it has matters only if it is read whole."""
    _, height, width = slicing.shape_of(volume.shape)
    held = (slices_at_once(volume, slicing) + 2 * neighbours) * height * width * volume.channels
    columns, rows, _ = volume.shape
    parts = BLOCKS * max(held, block_depth(volume) * columns * rows) * np.dtype(volume.dtype).itemsize
    return parts + (READ_WHOLE_TAKES * volume.nbytes if is_read_whole(uri) else 0)
