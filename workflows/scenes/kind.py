"""Kind: how one sort of input is opened, prepared, stored, counted, pictured and described.

A run knows nothing of rasters, slides or volumes: it asks the Kind of its Scene. A third party adds one by an entry
point in the group ``segment_tiles.kinds``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import zarr

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.sources.versions.version import KnownVersion
from segment_tiles.pipeline.sources.view import View
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.pixels import AskedMask
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.scenes.cut import Cut
from segment_tiles.workflows.scenes.scene import Models, Scene

Shards = Mapping[tuple[int, int], Sequence[int]]
"""Pixels of each class, and of nodata last, by (shard row, shard column), from the ledger."""


@dataclass(frozen=True, slots=True)
class WorkStore:
    """A Zarr store in work, and the ledger of its rows."""

    path: Path
    """Its folder."""
    ledger: Ledger
    """Of its rows of shards."""
    shape: tuple[int, ...]
    """Of its class map: rows and columns; of several planes, planes, rows and columns."""
    create: Callable[[Path], None]
    """Makes it, empty, under any name."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What of a source a class map covers."""

    shape: tuple[int, ...]
    """Of the class map: rows and columns; of several planes, planes, rows and columns."""
    georef: GeoRef
    """Of a plane."""
    is_whole: bool
    """Whether it covers the whole source."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How the report calls what is counted of a class, and how it measures it."""

    count: str
    """Key of the number, such as pixels."""
    size: str
    """Key of the size, such as area."""
    title: str
    """Of a column of sizes, with the unit."""


class Kind(ABC):
    """One sort of input.

    Methods that say "default" in their first line need no override.
    """

    name: ClassVar[str]
    """Of the Kind, as in ``Scene.kind`` and in the group of entry points."""
    turn: ClassVar[int] = 0
    """Kinds with lower numbers are asked first whether a source is theirs; ours have 1 to 3."""
    usual_formats: ClassVar[tuple[str, ...]] = ()
    """Names of the formats that are made beside the store, unless the user says."""
    overlap_note: ClassVar[str] = "polygons, --format masks and the array masks of classes.zarr have all"
    """Which results have every class of a pixel, if classes may overlap."""
    takes_tuning: ClassVar[bool] = False
    """Whether a run takes the side of a tile that `tune` found best for one plane of its size."""
    is_placed: ClassVar[bool] = False
    """Whether a catalogue of the Earth can hold the result (a STAC item)."""

    @abstractmethod
    def recognises(self, uri: str, view: View) -> bool:
        """Return whether a source, read in this way, is of this Kind; it is looked at, not opened.

        Raises
        ------
        SourceError, MissingExtraError
            If it is, but in a form that is not read here.
        """

    @abstractmethod
    def open(self, config: RunConfig, models: Models) -> Scene:
        """Open a source for its facts, and check it against options and models.

        Raises
        ------
        SourceError, ModelError, UsageError
            If one of them does not fit the others.
        """

    @abstractmethod
    def stores(self, scene: Scene, directory: OutputDirectory, *, with_scores: bool) -> list[WorkStore]:
        """Return the store of the result, then, if scores are composed, those of all Cuts in their order."""

    @abstractmethod
    def cuts_in_work(
        self, scene: Scene, directory: OutputDirectory, known: KnownVersion, cache_mib: int
    ) -> tuple[Cut, ...]:
        """Return the Cuts as workers open them.

        Parameters
        ----------
        scene, directory
            Of the run; what `prepare` made is there.
        known
            Version of the source that the map is made of, under its absolute name.
        cache_mib
            MiB of decoded pixels that a worker may keep.
        """

    @abstractmethod
    def count(self, scene: Scene, shards: Shards, directory: OutputDirectory) -> dict[str, Any]:
        """Return what a report says of classes: ``classes``, ``nodata``, and the unit of their sizes."""

    @abstractmethod
    def sizes(self, report: Mapping[str, Any]) -> Sizes:
        """Return how a report of this Kind names what `count` counted."""

    @abstractmethod
    def counts(self, report: Mapping[str, Any]) -> list[Any]:
        """Return the numbers of a report that are read again: a report without them is damaged.

        Raises
        ------
        KeyError, TypeError, AttributeError
            If one is missing.
        """

    @abstractmethod
    def extent(self, scene: Scene) -> Extent:
        """Return what the class map of a run will cover."""

    @abstractmethod
    def stored_extent(self, group: zarr.Group, report: Mapping[str, Any]) -> Extent:
        """Return what the class map of a finished run covers."""

    @abstractmethod
    def facts(self, scene: Scene) -> dict[str, Any]:
        """Return what a report says of the source."""

    @abstractmethod
    def picture(
        self,
        path: Path,
        scene: Scene,
        directory: OutputDirectory,
        group: zarr.Group,
        report: Mapping[str, Any],
    ) -> None:
        """Draw scene and class map into a PNG.

        Raises
        ------
        SourceError, ReadFailedError
            If the source cannot be read.
        """

    @abstractmethod
    def describe(self, uri: str, level: int, view: View) -> dict[str, Any]:
        """Return what ``info`` tells of a source, as plain JSON values.

        Raises
        ------
        SourceError
            If it cannot be opened.
        """

    @abstractmethod
    def summary(self, scene: Scene) -> str:
        """Return the line of a Plan about the source."""

    def settings(self, scene: Scene) -> dict[str, Any]:
        """Return what only runs of this Kind have in their fingerprint; default nothing."""
        return {}

    def mask_run(self, config: RunConfig, scene: Scene, asked: AskedMask) -> RunConfig:
        """Return the run of a model whose classes limit the map of a scene, on the same grid; default there is none.

        Parameters
        ----------
        config, scene
            Of the run that is limited.
        asked
            The model, and which of its classes.

        Raises
        ------
        UsageError
            If such sources have no masks.
        SourceError, ModelError
            If source or model cannot be opened.
        """
        msg = (
            f"{shown_name(config.source)} is a {self.name}, whose map no mask limits; give a raster or a slide, or "
            "leave it out"
        )
        raise UsageError(msg)

    def prepare(  # noqa: B027 - most Kinds need none
        self, scene: Scene, directory: OutputDirectory, stage: Callable[[str], None]
    ) -> None:
        """Make what workers read, before the first Region is done; default nothing."""

    def copied_bytes(self, scene: Scene) -> int:
        """Return the bytes on disk that `prepare` takes; default none."""
        return 0

    def compose(self, scene: Scene, directory: OutputDirectory) -> None:
        """Make the result of the scores of all Cuts, if there are several; default there never are."""
        msg = f"scenes of the kind {self.name} have one Cut"
        raise NotImplementedError(msg)

    def complete_store(  # noqa: B027 - most Kinds need none
        self, scene: Scene, directory: OutputDirectory, stage: Callable[[str], None]
    ) -> None:
        """Add to the store in work what is made of its class map alone, such as overviews; default nothing."""

    def remove_scores(self, scene: Scene, directory: OutputDirectory) -> None:  # noqa: B027 - most have none
        """Remove what `compose` was the last to need; default nothing."""

    def remove_copies(self, directory: OutputDirectory) -> None:  # noqa: B027 - most have none
        """Remove what `prepare` made, when nothing reads the source any more; default nothing."""

    def formats_of(self, georef: GeoRef) -> str:
        """Return the name of the Kind whose formats a class map with this georeference can have; default its own."""
        return self.name

    def is_medical(self, scene: Scene) -> bool:
        """Return whether the report carries the notice on medical images; default not."""
        return False
