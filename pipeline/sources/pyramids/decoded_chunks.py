"""A chunked array read by window, through a bounded cache of its decoded chunks."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import zarr
from cachetools import LRUCache
from numpy.typing import NDArray

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.errors import ReadFailedError
from segment_tiles.pipeline.names import is_url
from segment_tiles.pipeline.sources.damage import DAMAGE
from segment_tiles.pipeline.sources.patience import REMOTE_ATTEMPTS, GaveUpError, Patience

READERS = 4
"""Chunks that are fetched and decoded at once: an object store answers slowly, but many at a time."""


def read_errors() -> tuple[type[Exception], ...]:
    """Return what stores and codecs raise for bytes that are missing or damaged."""
    try:
        from aiohttp import ClientError  # noqa: PLC0415 - of an extra, and only what is read as Zarr needs it
    except ImportError:  # without it nothing remote is read either
        return DAMAGE
    return (*DAMAGE, ClientError)


class DecodedChunks:
    """Decoded chunks of the Levels of one image, at most so many bytes: the one used longest ago goes first.

    Neighbouring rows of windows share chunks; without the cache each would be decoded twice or more.
    """

    def __init__(self, uri: str, cache_bytes: int) -> None:
        self._uri = uri
        self._patience = Patience(REMOTE_ATTEMPTS if is_url(uri) else 1, read_errors())
        self._readers = ContextPool(READERS, thread_name_prefix="chunks")
        self._chunks: LRUCache[tuple[int, ...], NDArray[Any]] = LRUCache(
            cache_bytes, getsizeof=lambda chunk: int(chunk.nbytes)
        )

    def read(self, level: int, array: zarr.Array[Any], box: tuple[slice, ...]) -> NDArray[Any]:
        """Return a box of an array, all its dimensions kept.

        Raises
        ------
        ReadFailedError
            If a chunk cannot be read or decoded.
        """
        result = np.empty([part.stop - part.start for part in box], dtype=array.dtype)
        sides = array.chunks
        indices = list(
            product(*(range(p.start // side, -(-p.stop // side)) for p, side in zip(box, sides, strict=True)))
        )
        for first in range(0, len(indices), READERS):  # few at a time: they are all held at once
            group = indices[first : first + READERS]
            held = {index: self._chunks.get((level, *index)) for index in group}
            missing = [index for index in group if held[index] is None]
            loaded = self._readers.map(lambda index: self._load(level, array, index), missing)
            for index, chunk in [*zip(missing, loaded, strict=True), *held.items()]:
                if chunk is not None:
                    corner = [i * side for i, side in zip(index, sides, strict=True)]
                    _copy_shared(chunk, corner, result, box)
                    if chunk.nbytes <= self._chunks.maxsize:
                        self._chunks[level, *index] = chunk
        return result

    def close(self) -> None:
        """Forget the chunks and end the readers."""
        self._readers.shutdown()
        self._chunks.clear()

    def _load(self, level: int, array: zarr.Array[Any], index: tuple[int, ...]) -> NDArray[Any]:
        part = tuple(slice(i * side, (i + 1) * side) for i, side in zip(index, array.chunks, strict=True))
        try:
            return self._patience.read(lambda: np.asarray(array[part]))
        except GaveUpError as error:
            msg = (
                f"{self._uri}: level {level}, chunk {index} cannot be read or decoded, {error.summary}; "
                "copy the image again or check the connection, or choose another --level"
            )
            raise ReadFailedError(msg) from error


def _copy_shared(
    chunk: NDArray[Any], corner: list[int], result: NDArray[Any], box: tuple[slice, ...]
) -> None:
    """Copy what a chunk has of a box into the result."""
    shared = [
        (max(part.start, start), min(part.stop, start + length))
        for part, start, length in zip(box, corner, chunk.shape, strict=True)
    ]
    target = tuple(slice(a - part.start, b - part.start) for (a, b), part in zip(shared, box, strict=True))
    taken = tuple(slice(a - start, b - start) for (a, b), start in zip(shared, corner, strict=True))
    result[target] = chunk[taken]
