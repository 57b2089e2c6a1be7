"""The voxels of a volume beside a run: written once, front to back, and read again slice by slice.

::

    scan.nii.gz, scan.nrrd, series/      read once, a block at a time
              |
              v
    voxels.zarr   channel x i x j x k    cubes, uncompressed
              |
              +--> slices along any axis, in any order, by any worker

A compressed volume can only be read from its start, and its slices along i and j lie scattered over the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from segment_tiles.pipeline.grid.volume import VolumeSpec
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.volume import block_depth, read_blocks

if TYPE_CHECKING:
    from zarr.abc.store import Store

SIDE: Final = 64
"""Voxels of a cube along i and j; cubes of one block lie in one file."""

Part = tuple[slice, slice, slice, slice]


class Voxels(Protocol):
    """channels x i x j x k, wherever they lie."""

    def __getitem__(self, part: Part, /) -> NDArray[Any]:
        """Return a part."""
        ...


def open_voxels(store: Path | Store) -> Voxels:
    """Open a copy that is whole: its folder, or a store of Zarr that reads it."""
    array: Any = zarr.open_array(store, mode="r")
    return cast("Voxels", array)


class VolumeFile:
    """Voxels of a volume that was not copied, for a look at a few slices: each look reads the file again."""

    def __init__(self, uri: str, selection: Selection, spec: VolumeSpec) -> None:
        self._uri, self._selection, self._spec = uri, selection, spec

    def __getitem__(self, part: Part, /) -> NDArray[Any]:
        """Return a part, with what must be read on the way in memory block by block.

        Raises
        ------
        SourceError
            If the values cannot be read.
        """
        spec = self._spec
        spans = [range(*s.indices(side)) for s, side in zip(part, (spec.channels, *spec.shape), strict=True)]
        channels, _, _, layers = spans
        result = np.empty([len(span) for span in spans], spec.dtype)
        for channel, first, block in read_blocks(self._uri, self._selection, spec, layers.start, layers.stop):
            if channel in channels:
                offset = first - layers.start
                chosen = block[part[1], part[2]]
                result[channels.index(channel), :, :, offset : offset + block.shape[2]] = chosen
        return result


def copy_voxels(uri: str, selection: Selection, spec: VolumeSpec, path: Path) -> None:
    """Read a volume once and write its voxels as a Zarr array.

    Parameters
    ----------
    uri, selection, spec
        What is read, and what is known of it.
    path
        Folder of the copy, not there yet.

    Raises
    ------
    SourceError
        If the values cannot be read.
    OSError
        If the copy cannot be written.
    """
    depth = block_depth(spec)
    whole = [-(-side // SIDE) * SIDE for side in spec.shape[:2]]
    array = zarr.create_array(
        path,
        shape=(spec.channels, *spec.shape),
        dtype=spec.dtype,
        shards=(1, *whole, depth),
        chunks=(1, SIDE, SIDE, depth),
        compressors=Crc32cCodec(),
        fill_value=0,
        dimension_names=("channel", "i", "j", "k"),
    )
    for channel, first, block in read_blocks(uri, selection, spec):
        array[channel, :, :, first : first + block.shape[2]] = block
