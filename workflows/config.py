"""What the user asked of a run: words in, one frozen value out, checked before anything is opened."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast, get_args

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.outputs.dicom.segmentation import DicomSegKind
from segment_tiles.pipeline.sources.protocol import NodataRule
from segment_tiles.pipeline.sources.rasters.masks import AlphaUse
from segment_tiles.pipeline.sources.view import WHOLE, View
from segment_tiles.workflows.sizes_check import check_workers

FORMATS: Final = (
    "zarr", "cog", "parquet", "gpkg", "geojson", "geojsonl", "fgb", "qupath", "pmtiles", "ome-zarr",
    "ome-tiff", "nifti", "dicom-seg",
)  # fmt: skip
"""What ``--format`` accepts; the Zarr store is always made."""
DEFAULT_FORMATS: Final = ("zarr", "cog", "parquet")
"""Of a raster in two dimensions, unless told."""
UNITS: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
                "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip

LARGEST_COUNT: Final = 2**31 - 1
"""Of tiles in a batch, and of bands: GDAL and torch count in a C int."""
LARGEST_MEMORY: Final = 2**63
"""Bytes that no machine can name."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One run, as asked for; None means that the model or the machine decides."""

    source: str = field(repr=False)  # may hold secrets
    """Path or URL of the raster."""
    model: str
    """Name of a bundled model, or folder of a model package."""
    out: Path
    """Output directory."""
    tile: int | None = None
    """Side of a tile in pixels."""
    overlap: float | None = None
    """Overlap as a fraction of the side."""
    blend: str = "gaussian"
    """gaussian, hann, linear or crop."""
    batch: int | None = None
    """Tiles of one forward pass."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: str = "auto"
    """auto, fp32, bf16 or fp16."""
    backend: str = "auto"
    """auto, torch, compile, openvino or onnx."""
    augmentation: str = "none"
    """Turns in which every tile is seen, averaged: none, flips or rotations."""
    companions: tuple[str, ...] = ()
    """Further models that make one ensemble with the first."""
    tuned: bool = False
    """Tile, overlap, batch, precision and backend are what `tune` kept, not what the user said."""
    bands: tuple[int, ...] | None = None
    """1-based bands in the order of the model."""
    roi: tuple[float, ...] | None = None
    """min x, min y, max x, max y in the coordinates of the raster; with z of both in those of a volume."""
    aoi: Path | None = None
    """Vector file whose polygons limit the result."""
    nodata: float | None = None
    """Value of missing pixels, in place of the declared one."""
    nodata_rule: NodataRule = "all"
    """Whether all or any of the bands must be missing."""
    alpha: AlphaUse = "auto"
    """What a band tagged alpha is: auto (a mask, unless bands names it), mask or band."""
    level: int | None = None
    """Level of the source, 0 is full resolution; None: full resolution, or the model's microns per pixel."""
    tissue: str = "auto"
    """auto, otsu, off, or a file of polygons: which part of a slide is computed."""
    labels_inside: bool = False
    """Whether OME-Zarr labels go into the OME-Zarr source instead of beside the other results."""
    dicom_seg: DicomSegKind = "binary"
    """How the segments of DICOM SEG are stored."""
    view: View = WHOLE
    """Micrometres per pixel, plane and time point."""
    axis: str | None = None
    """Axis along which a volume is cut: axial, coronal, sagittal, 0, 1, 2 or all; None: axial."""
    neighbours: int | None = None
    """Slices of a volume on both sides that are bands too; None: as the model says."""
    formats: tuple[str, ...] = ()
    """What is made of the class map; empty: what suits the kind of source."""
    scores: bool = False
    """Whether the probabilities of all classes are kept."""
    memory: int | None = None
    """Bytes that one worker may take."""
    workers: int | None = None
    """Processes on this machine that do Regions; None does them in this process."""
    scheduler: str | None = None
    """Address of a Dask scheduler whose workers do them."""
    cluster: Path | None = None
    """File that describes a Dask cluster to start."""
    trust: bool = False
    """Load a model package whose graph may execute code."""
    restart: bool = False
    """Throw away what an earlier run left in the output directory."""


def is_count(text: str) -> bool:
    """Return whether text is a whole number above 0, as large as a C int at most.

    >>> is_count("3"), is_count("0"), is_count("2147483648"), is_count("\u00b2")
    (True, False, False, False)
    """
    return text.isdecimal() and len(text) <= len(str(LARGEST_COUNT)) and 1 <= int(text) <= LARGEST_COUNT


def parse_memory(text: str) -> int:
    """Return bytes of a size such as 4GB, 512MiB or 2000000000.

    Raises
    ------
    UsageError
        Where it is no positive size.

    >>> parse_memory("4GB"), parse_memory("1.5 GiB")
    (4000000000, 1610612736)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None or not 0 < float(match[1]) * unit < LARGEST_MEMORY:
        msg = f"--memory is {text[:40]!r}; give a size such as 4GB or 900MiB"
        raise UsageError(msg)
    return int(float(match[1]) * unit)


def parse_models(text: str) -> tuple[str, ...]:
    """Return the models of a list such as canopy-rgb,./mine; a folder whose name has a comma is one model.

    Raises
    ------
    UsageError
        Where a name is empty or stands there twice.
    """
    names = (text,) if Path(text).is_dir() else tuple(part.strip() for part in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        msg = f"--model is {text!r}; give one model, or several different ones by commas"
        raise UsageError(msg)
    return names


def parse_bands(text: str) -> tuple[int, ...]:
    """Return 1-based band numbers of a list such as 3,2,1.

    Raises
    ------
    UsageError
        Where it is no list of positive whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(is_count(part) for part in parts):
        msg = f"--bands is {text!r}; give band numbers from 1, in the order of the model, such as 3,2,1"
        raise UsageError(msg)
    return tuple(int(part) for part in parts)


def parse_roi(text: str) -> tuple[float, ...]:
    """Return min x, min y, max x, max y; or, of a volume, min x, min y, min z, max x, max y, max z.

    Raises
    ------
    UsageError
        Where it is not four or six numbers in that order.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in {4, 6} or not all(math.isfinite(n) for n in numbers):
        msg = (
            f"--roi is {text!r}; give MINX,MINY,MAXX,MAXY in the coordinates of the raster, or "
            "MINX,MINY,MINZ,MAXX,MAXY,MAXZ in those of a volume"
        )
        raise UsageError(msg)
    axes = len(numbers) // 2
    if any(low >= high for low, high in zip(numbers[:axes], numbers[axes:], strict=True)):
        msg = f"--roi is {text!r}; MINX must be below MAXX and MINY below MAXY"
        raise UsageError(msg)
    return tuple(numbers)


def parse_formats(text: str) -> tuple[str, ...]:
    """Return known formats of a list such as cog,parquet; the Zarr store is always among them.

    Raises
    ------
    UsageError
        Where one is not known.
    """
    names = [part.strip().lower() for part in text.split(",") if part.strip()]
    for name in names:
        if name not in FORMATS:
            msg = f"--format names {name!r}; it must be of {', '.join(FORMATS)}"
            raise UsageError(msg)
    return tuple(name for name in FORMATS if name == "zarr" or name in names)


def parse_dicom_seg(text: str) -> DicomSegKind:
    """Return how the segments of DICOM SEG are stored.

    Raises
    ------
    UsageError
        If there is no such way.
    """
    for kind in get_args(DicomSegKind):
        if text == kind:
            return cast(DicomSegKind, kind)
    msg = f"--dicom-seg is {text!r}; it must be one of {', '.join(get_args(DicomSegKind))}"
    raise UsageError(msg)


def check_where(config: RunConfig) -> None:
    """Refuse more than one place to compute, and workers that are none.

    Raises
    ------
    UsageError
        Naming the options.
    """
    asked = {
        "--workers": config.workers,
        "--scheduler": config.scheduler,
        "--cluster": None if config.cluster is None else str(config.cluster),
    }
    given = [f"{name} {value}" for name, value in asked.items() if value is not None]
    if len(given) > 1:
        msg = f"{' and '.join(given)} exclude each other; give one of --workers, --scheduler, --cluster"
        raise UsageError(msg)
    if config.workers is not None:
        check_workers(config.workers)
    if config.workers is not None and config.device.startswith("cuda:"):
        msg = (
            f"--device {config.device} with --workers {config.workers}: every worker gets a GPU of its own; give "
            "--device cuda, and choose among GPUs with the environment variable CUDA_VISIBLE_DEVICES"
        )
        raise UsageError(msg)


def parse_batch(text: str) -> int | None:
    """Return a number of tiles, or None for ``auto``.

    Raises
    ------
    UsageError
        Where it is neither.
    """
    if text == "auto":
        return None
    if not is_count(text):
        msg = f"--batch is {text[:40]!r}; give auto or a number of tiles from 1"
        raise UsageError(msg)
    return int(text)


def one_of(option: str, value: str, accepted: Sequence[str]) -> str:
    """Return ``value`` if it is accepted.

    Raises
    ------
    UsageError
        Where it is not; the message names the option and all accepted words.
    """
    if value not in accepted:
        msg = f"{option} is {value!r}; it must be one of {', '.join(accepted)}"
        raise UsageError(msg)
    return value
