"""RunConfig: what the user asked of a run, each option declared once, checked before anything is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.accepted import BLENDS, AlphaUse, DicomSegKind, NodataRule
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.backends import known
from segment_tiles.pipeline.models.packages.manifest import ALL_HEADS
from segment_tiles.pipeline.names import is_there
from segment_tiles.pipeline.sources.view import View
from segment_tiles.workflows.options.decision import DecidedSettings
from segment_tiles.workflows.options.declare import (
    Option,
    argument,
    check_choices,
    chosen,
    one_of,
    option,
    options_of,
)
from segment_tiles.workflows.options.keywords import values_of
from segment_tiles.workflows.options.parsers import (
    parse_bands,
    parse_batch,
    parse_device,
    parse_memory,
    parse_models,
    parse_roi,
)
from segment_tiles.workflows.options.pixels import MapGridSettings, MaskSettings, PixelSettings
from segment_tiles.workflows.options.scaling import ScalingSettings
from segment_tiles.workflows.options.stacks import StackSettings
from segment_tiles.workflows.results.formats.table import STORE, format_names

FORMAT_NAMES: Final = format_names()
FORMATS_HELP: Final = f"Of {', '.join(FORMAT_NAMES)}: those that the kind of source can have."
PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16", "int8")
BACKENDS: Final = ("auto", *known.BACKENDS.names())
"""What runs the network."""
TISSUES: Final = ("auto", "otsu", "off")
"""What ``--tissue`` may be beside a file."""
AUGMENTATIONS: Final = ("none", "flips", "rotations")
"""Turns in which every tile is seen."""


def parse_formats(text: str) -> tuple[str, ...]:
    """Return known formats of a list such as cog,parquet; the Zarr store is always among them.

    Raises
    ------
    UsageError
        If one is not known.
    """
    names = [part.strip().lower() for part in text.split(",") if part.strip()]
    for name in names:
        if name not in FORMAT_NAMES:
            msg = f"--format names {name!r}; it must be of {', '.join(FORMAT_NAMES)}"
            raise UsageError(msg)
    return tuple(name for name in FORMAT_NAMES if name == STORE or name in names)


@dataclass(frozen=True, slots=True)
class RunConfig(
    MapGridSettings, MaskSettings, PixelSettings, ScalingSettings, StackSettings, DecidedSettings
):
    """One run, as asked for; None means that the model or the machine decides.

    Raises
    ------
    UsageError
        If a value is impossible, whatever the source, the model and the machine.
    """

    source: str = argument(
        "Raster: a path, https:// or s3:// name, all that GDAL reads; or a stack: files by commas, YAML, a STAC item.",
        metavar="SOURCE",
        repr=False,
    )  # not in repr: it may hold secrets
    model: str = option(
        "Bundled model, or folder or URL of a model package; several, by commas: their mean.",
        parse=parse_models,
    )
    out: Path = option("Output directory: new, empty, or of an earlier run.", metavar="DIR", in_jobs=False)
    tile: int | None = option("Tile side; default: the model's.", default=None, metavar="PX", minimum=1)
    overlap: float | None = option(
        "Shared part of a tile side, 0 to below 1.", default=None, metavar="FRACTION", minimum=0, below=1
    )
    blend: str = option(
        f"How overlapping tiles are weighed: {one_of(BLENDS)}.", default="gaussian", choices=BLENDS
    )
    batch: int | None = option(
        "Tiles of one forward pass.",
        default=None,
        typed="auto",
        metavar="N|auto",
        parse=parse_batch,
        minimum=1,
        pattern="^auto$",
    )
    device: str = option(
        "What computes: auto, cpu, cuda or cuda:N.",
        default="auto",
        parse=parse_device,
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
    )
    precision: str = option(
        f"Number format of the network: {one_of(PRECISIONS)}.", default="auto", choices=PRECISIONS
    )
    backend: str = option(
        f"What runs the network: {one_of(BACKENDS)}; auto: the fastest.", default="auto", choices=BACKENDS
    )
    augmentation: str = option(
        "Average over turned tiles: none, flips (4) or rotations (4).",
        name="tta",
        default="none",
        choices=AUGMENTATIONS,
    )
    companions: tuple[str, ...] = ()
    """Further models that make one ensemble with the first."""
    tuned: bool = False
    """Tile, overlap, batch, precision and backend are what `tune` kept, not what the user said."""
    mask_source: str | None = field(default=None, repr=False)  # may hold secrets
    """What the mask model reads of a stack, under the name by which every process finds it."""
    lies_on: tuple[int, View] | None = None
    """Of the run of a mask: Level and View of the source on whose grid its map lies, that of the map it limits."""
    weights_beside: int = 0
    """Of the run of a mask: bytes of the model of the map, which stays loaded."""
    head: str | None = option(
        "Of a model with several: the one whose classes are mapped, or all; default: its first.",
        default=None,
        metavar="NAME",
    )
    bands: tuple[int, ...] | None = option(
        "Bands of the source, from 1, in the order of the model.",
        default=None,
        metavar="1,2,3",
        parse=parse_bands,
        minimum=1,
    )
    roi: tuple[float, ...] | None = option(
        "Box in the coordinates of the source; of a volume MINX,MINY,MINZ,MAXX,MAXY,MAXZ in mm (RAS+).",
        default=None,
        metavar="MINX,MINY,MAXX,MAXY",
        parse=parse_roi,
    )
    aoi: Path | None = option(
        "Polygons that limit what is computed and written; name the layer if the file has several.",
        default=None,
        metavar="FILE[:LAYER]",
        is_file=True,
    )
    nodata: float | None = option(
        "Value of missing pixels, in place of what the source declares.", default=None, metavar="V"
    )
    nodata_rule: NodataRule = option(
        "A pixel is missing if all or any of its bands are: all, any.", default="all"
    )
    alpha: AlphaUse = option(
        "A band tagged alpha: a mask unless --bands names it (auto), always a mask, or a band of data.",
        default="auto",
        metavar="auto|mask|band",
    )
    tissue: str = option(
        "Part of a slide that is computed: by Otsu's threshold (auto: of slides), all, or polygons.",
        default="auto",
        metavar="auto|otsu|off|FILE",
        is_file=True,
    )
    labels_inside: bool = option("Put ome-zarr labels into the OME-Zarr source itself.", default=False)
    axis: str | None = option(
        "Of a volume: axial (default), coronal, sagittal, a stored axis 0, 1 or 2, or all three averaged.",
        default=None,
        metavar="AXIS",
    )
    neighbours: int | None = option(
        "Of a volume: slices on both sides that are bands of the model too; default: as the model says.",
        default=None,
        metavar="N",
        minimum=0,
    )
    formats: tuple[str, ...] = option(
        f"{FORMATS_HELP} Default: what suits the source.",
        name="format",
        default=(),
        metavar="F,F",
        parse=parse_formats,
        choices=FORMAT_NAMES,
    )
    dicom_seg: DicomSegKind = option(
        "How dicom-seg stores the segments: binary, which every reader knows, or labelmap, which is smaller.",
        default="binary",
        metavar="KIND",
    )
    scores: bool = option("Keep the probabilities of all classes, as bytes.", default=False)
    preview: bool = option("Draw preview.png.", default=True)
    item: bool = option("Write item.json, the STAC item of a map with a position on Earth.", default=True)
    memory: int | None = option(
        "Most memory of one worker, such as 4GB.", default=None, metavar="SIZE", parse=parse_memory, minimum=1
    )
    workers: int | None = option(
        "Compute in N processes of this machine, one device each.", default=None, metavar="N", minimum=1
    )
    scheduler: str | None = option(
        "Compute on the workers of a running Dask scheduler.", default=None, metavar="ADDRESS"
    )
    cluster: Path | None = option(
        "Start the Dask cluster that a YAML file describes.", default=None, metavar="FILE", is_file=True
    )
    trust: bool = option("Load a TorchScript or torch.export model, which may execute code.", default=False)
    restart: bool = option("Throw away what an earlier run left in --out.", default=False, in_jobs=False)

    @property
    def has_workers(self) -> bool:
        """Whether other processes compute."""
        return not (self.workers is None and self.scheduler is None and self.cluster is None)

    @property
    def may_be_several(self) -> bool:
        """Whether the source is a folder, perhaps of pictures, or all heads of the model are mapped."""
        return self.head == ALL_HEADS or (is_there(self.source) and Path(self.source).is_dir())

    def __post_init__(self) -> None:
        check_choices(self)
        parse_device(self.device)
        _ = self.view  # refuses impossible numbers


def run_config_from(**options: Any) -> RunConfig:
    """Return the run that options ask for, by their names on the command line with ``_`` for ``-``.

    Parameters
    ----------
    **options
        Values, or texts as on the command line: ``bands=[3, 2, 1]`` or ``bands="3,2,1"``. None: not given.

    Raises
    ------
    TypeError
        If a name is none of the options, or ``source``, ``model`` or ``out`` is missing.
    UsageError
        If a value is wrong; the text is that of the command line.

    Examples
    --------
    >>> run_config_from(source="scene.tif", model="canopy-rgb", out="map", bands=[3, 2, 1], memory="4GB").memory
    4000000000
    """
    return _config(options_of(RunConfig), options)


def _config(known: Sequence[Option], given: Mapping[str, Any]) -> RunConfig:
    values = values_of(known, given)
    values["model"], *companions = values["model"]
    return RunConfig(companions=tuple(companions), **values)


PLAN_OPTIONS: Final = tuple(
    replace(
        entry,
        is_required=False,
        help="Output directory that the run would have: also check it and its disk space.",
    )
    if entry.field == "out"
    else entry
    for entry in options_of(RunConfig)
    if entry.field not in {"scheduler", "cluster", "restart"}
)
"""Options of `plan`: those of a run, but for the output directory, which need not be known."""


EXPORT_OPTIONS: Final = tuple(
    replace(entry, is_required=True, help=FORMATS_HELP) if entry.field == "formats" else entry
    for entry in (
        *chosen(RunConfig, "formats", "labels_inside", "dicom_seg"),
        *options_of(DecidedSettings),
        *options_of(MapGridSettings),
    )
)
"""Options of `export`."""


def plan_config_from(**options: Any) -> RunConfig:
    """Return the run that a plan is asked for; ``out`` may be missing.

    Raises
    ------
    TypeError, UsageError
        As `run_config_from`.
    """
    if options.get("out") is None:
        options["out"] = ""  # the working folder, which nothing looks at
    return _config(PLAN_OPTIONS, options)
