"""The one plane of a raster or slide, opened once or several times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Final

from segment_tiles.pipeline.accepted import AlphaUse, NodataRule
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.rasters.block_cache import DEFAULT_MIB
from segment_tiles.pipeline.sources.rasters.several_handles import SeveralHandles
from segment_tiles.pipeline.sources.versions.ranges import begin_reading
from segment_tiles.pipeline.sources.versions.version import KnownVersion
from segment_tiles.pipeline.sources.view import View

HANDLES_AT_MOST: Final = 4
"""Handles of a raster that decode at once."""
CORES_PER_HANDLE: Final = 4
"""Threads of torch for which one more handle is opened: fewer cores are better left to the network."""


@dataclass(frozen=True, slots=True)
class RasterOpener:
    """Everything that decides what is read of a raster."""

    uri: str = field(repr=False)  # may hold secrets
    """Absolute path, or URL."""
    bands: tuple[int, ...]
    """1-based, in the order of the model."""
    nodata: float | None
    """Value of missing pixels in all bands, in place of those declared."""
    nodata_rule: NodataRule
    """all or any."""
    alpha: AlphaUse
    """What a band tagged alpha is."""
    level: int
    """Overview level."""
    view: View
    """Micrometres or metres per pixel, plane and time point."""
    cache_mib: int = DEFAULT_MIB
    """MiB of decoded pixels that the source may keep."""
    known: KnownVersion | None = None
    """Version of the source that the map is made of."""
    handles: int = 1
    """Handles at most: a GPU waits for one decoding thread. Those of slides have a cache each, so they have one."""

    def open(self) -> RasterPlane:
        """Open it as often as this process has groups of cores.

        Raises
        ------
        SourceError
            If it cannot be opened.
        """
        if self.known is not None:
            begin_reading(self.uri, self.known.before)
        count = 1 if self.handles == 1 else min(self.handles, _groups_of_cores())
        with ExitStack() as opened:
            handles: list[Source] = []
            for _ in range(count):
                handles.append(self.handle())
                opened.callback(handles[-1].close)
            opened.pop_all()
        return RasterPlane(handles[0] if count == 1 else SeveralHandles(handles))

    def handle(self) -> Source:
        """Open it once.

        Raises
        ------
        SourceError
            If it cannot be opened.
        """
        known = self.known
        with nullcontext() if known is None else known.guard.held():
            return open_source(
                self.uri,
                bands=self.bands,
                nodata=self.nodata,
                nodata_rule=self.nodata_rule,
                alpha=self.alpha,
                level=self.level,
                view=self.view,
                cache_mib=self.cache_mib,
                settings=None if known is None else known.guard.settings,
                unchanged=None if known is None else known.require_same,
            )

    def look(self) -> None:
        """Refuse a source that cannot be opened here."""
        self.handle().close()


class RasterPlane:
    """The plane, open."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def sources(self, numbers: Sequence[int]) -> Iterator[Source]:
        """Yield it for every number, which is 0."""
        for _ in numbers:
            yield self._source

    def close(self) -> None:
        """Release all handles."""
        self._source.close()


def _groups_of_cores() -> int:
    import torch  # noqa: PLC0415 - a Plan opens its scene without

    return max(1, torch.get_num_threads() // CORES_PER_HANDLE)
