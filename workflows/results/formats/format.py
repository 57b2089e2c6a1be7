"""What a Format is: name, file, kinds of source, what it needs, how it is checked and made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from segment_tiles.workflows.options.pixels import MapGrid
from segment_tiles.workflows.options.polygons import PolygonSettings

if TYPE_CHECKING:
    import zarr

    from segment_tiles.pipeline.accepted import DicomSegKind
    from segment_tiles.pipeline.grid.classes import ClassTable
    from segment_tiles.pipeline.grid.georef import GeoRef
    from segment_tiles.pipeline.grid.reclass import Reclass
    from segment_tiles.pipeline.outputs.warped_map import WarpedGrid
    from segment_tiles.pipeline.vectors.files.formats import VectorFormat
    from segment_tiles.workflows.results.formats.decided import Decided


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """What the user may say of some formats."""

    labels_inside: bool = False
    """Whether OME-Zarr labels go into the OME-Zarr source instead of beside the other results."""
    dicom_seg: DicomSegKind = "binary"
    """How the segments of DICOM SEG are stored."""
    polygons: PolygonSettings = field(default_factory=PolygonSettings)
    """Which polygons the vector formats have."""
    decided: Decided | None = None
    """How an export gave the classes anew, by thresholds."""
    reclass: Reclass | None = None
    """What becomes of the classes of a finished map; of a run, its map has the new ones already."""
    map_grid: MapGrid | None = None
    """Another grid on which files of the class map are to lie."""


AS_USUAL: Final = FormatOptions()
"""If the user says nothing."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A class map as it will be, or is: all that can forbid a format."""

    source: str
    """Path or URL of what is segmented."""
    kind: str
    """Name of its Kind."""
    georef: GeoRef
    """Of the class map."""
    shape: tuple[int, ...]
    """Of the class map: rows and columns, of a volume slices, rows and columns."""
    is_whole: bool
    """Whether it covers the whole source."""
    levels: tuple[tuple[int, int], ...]
    """Rows and columns of the Levels of the source, if it has several."""
    table: ClassTable
    """Classes."""
    model: str
    """Name of the model."""
    options: FormatOptions
    has_scores: bool = False
    """Whether the store has the probabilities of all classes."""
    has_masks: bool = False
    """Whether classes may overlap, and the store has a mask for each."""
    warped: WarpedGrid | None = None
    """The grid on which files of the class map will lie, if it is another than that of the store."""

    @property
    def of_files(self) -> Subject:
        """The class map as files have it."""
        if self.warped is None:
            return self
        # rules of objects count pixels
        rules = tuple(rule.scaled(self.warped.finer) for rule in self.table.objects)
        return replace(
            self,
            georef=self.warped.georef,
            shape=self.warped.shape,
            is_whole=False,
            table=replace(self.table, objects=rules),
            warped=replace(self.warped, finer=1.0),
        )


@dataclass(frozen=True, slots=True)
class Work:
    """A finished run, of which files are made."""

    folder: Path
    """Output directory."""
    group: zarr.Group
    """The store of the class map, whole; of a raster with overviews."""
    report: Mapping[str, Any]
    """Of the run."""
    subject: Subject
    stage: Callable[[str], None]
    """Told of each file."""
    workers: int = 1
    """Processes that the run was given."""
    traced_ahead: Path | None = None
    """Vector tiles that were traced while the store was computed, in this start of the run."""

    @property
    def pixel_counts(self) -> list[int]:
        """Pixels of each class of a raster, in the order of codes."""
        return [entry["pixels"] for entry in self.report["classes"]]


def accept(_subject: Subject) -> None:
    """Check nothing: the kind of source and what is installed are all that this format asks for."""


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of result file.

    Third parties add one by an entry point of the group ``segment_tiles.formats``, of the same name.
    """

    name: str
    """As ``--format`` spells it."""
    file: str
    """Name of the file in the output directory; no other Format has it."""
    kinds: tuple[str, ...]
    """Names of the Kinds whose class maps it can hold."""
    make: Callable[[Work, Sequence[Format]], Sequence[str]]
    """Makes this file, and those of all other formats asked for that have the same ``make``; returns notes."""
    title: str
    """One line for catalogues."""
    media_type: str
    """For catalogues (STAC)."""
    roles: tuple[str, ...] = ("data",)
    """For catalogues (STAC)."""
    key: str = ""
    """Of the asset in the STAC item; empty: the name of the file."""
    is_class_raster: bool = False
    """Whether its pixels are class codes that a catalogue should explain."""
    check: Callable[[Subject], None] = accept
    """Raises UsageError or OutputError for what it cannot hold, before anything is computed."""
    module: str | None = None
    """Module that it needs beside what every installation has."""
    requirement: str = ""
    """What brings that module, as pip calls it: ``segment-tiles[slides]``."""
    driver: str | None = None
    """Raster driver of GDAL that it needs."""
    is_made: Callable[[Path, FormatOptions], bool] | None = None
    """Whether an output directory has it as asked for; None: if its file is there."""
    is_made_aside: bool = False
    """Whether it may be made in a thread beside other formats: it takes some 100 MiB at most, for maps of any size."""
    vector: VectorFormat | None = None
    """The vector format that it is, if it is one."""
    has_map_classes: bool = True
    """Whether a reclass changes it; what says how sure the model was of its own classes stays."""
    has_confidence: bool = False
    """Whether thresholds change it though a reclass does not: it tells the score of the class of each pixel."""

    @property
    def follows_grid(self) -> bool:
        """Whether its file lies on another grid if the user asks for one: what is made of classes and confidence."""
        return self.has_map_classes or self.has_confidence


def tell_nobody(_text: str) -> None:
    """Take the name of a stage, or a note, where nobody listens."""
