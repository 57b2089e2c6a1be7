"""The slices of a volume, opened a few at a time: out of the file, or out of the copy of its voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from segment_tiles.pipeline.accepted import NodataRule
from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.grid.volume import Slicing, VolumeSpec
from segment_tiles.pipeline.outputs.stores.sent_folder import Send, SentFolder, files_of
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.slices import open_slices
from segment_tiles.pipeline.sources.volumes.voxel_copy import VolumeFile, Voxels, open_voxels


@dataclass(frozen=True, slots=True)
class SliceOpener:
    """Everything that decides what is read of a volume along one direction."""

    uri: str = field(repr=False)
    """Absolute path."""
    selection: Selection
    """Which part of a file of four dimensions."""
    spec: VolumeSpec
    """Of the whole volume."""
    slicing: Slicing
    """How it is cut."""
    neighbours: int
    """Slices on both sides that are bands too."""
    first: int
    """Slice of the volume that is plane 0 of the result."""
    nodata_rule: NodataRule
    """all or any."""
    voxels: Path | SentFolder | None = None
    """Copy of the voxels, where every worker finds it; None: each look reads the file again."""

    def open(self) -> Slices:
        """Open the copy, or the file."""
        if self.voxels is None:
            return Slices(self, VolumeFile(self.uri, self.selection, self.spec))
        voxels = self.voxels
        return Slices(self, open_voxels(voxels if isinstance(voxels, Path) else voxels.zarr_store()))

    def sent(self, send: Send) -> SliceOpener:
        """Return what reads the copy where its folder is not seen."""
        assert isinstance(self.voxels, Path), "workers read the copy"
        return replace(self, voxels=send("voxels", self.voxels, partial(files_of, self.voxels)))

    def with_plane(self, number: int) -> OnePlane:
        """Return what gives a slice, read now, where the volume is not seen."""
        (plane,) = self.open().sources((number,))
        return OnePlane(plane)

    def look(self) -> None:
        """Refuse a volume that is not there; the probe opens it."""
        if not Path(self.uri).exists():
            msg = f"{self.uri}: no such file there"
            raise SourceError(msg)


class Slices:
    """The slices, open."""

    def __init__(self, opener: SliceOpener, voxels: Voxels) -> None:
        self._opener, self._voxels = opener, voxels

    def sources(self, numbers: Sequence[int]) -> Iterator[Source]:
        """Yield slices by their numbers in the result; a few are in memory together."""
        opener = self._opener
        yield from open_slices(
            self._voxels,
            opener.spec,
            opener.slicing,
            [opener.first + number for number in numbers],
            neighbours=opener.neighbours,
            nodata_rule=opener.nodata_rule,
        )

    def close(self) -> None:
        """Nothing stays open between two reads."""


@dataclass(frozen=True)
class OnePlane:
    """One slice that was read, as plain values that travel to any worker."""

    plane: Source = field(repr=False)
    """In memory."""

    def open(self) -> OnePlane:
        """Return itself."""
        return self

    def look(self) -> None:
        """Nothing is looked for."""

    def sources(self, numbers: Sequence[int]) -> Iterator[Source]:
        """Yield it for every number."""
        for _ in numbers:
            yield self.plane

    def close(self) -> None:
        """Nothing is open."""
