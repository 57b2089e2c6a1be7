"""Weights and graphs of other projects made into model packages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.errors import ModelError, OutputError, UsageError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.models.checkpoints.recognition import import_weights, with_background
from segment_tiles.pipeline.models.checkpoints.translation import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImportOptions,
)
from segment_tiles.pipeline.models.graph_import import import_graph
from segment_tiles.pipeline.models.graphs import graph_kind
from segment_tiles.pipeline.models.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.package import MANIFEST_FILE, save_graph_package, save_model_package

OVERLAP = 0.5
"""Recommended overlap: DeepLab with rates (6, 12, 18) at stride 16 looks 288 px to each side."""
_DEFAULT_TILE = 512
_UINT8_MAX = 255.0


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What a user says of a file that another project wrote."""

    path: Path
    """File, or folder of SMP's save_pretrained."""
    out: Path
    """Folder of the model package."""
    classes: tuple[str, ...]
    """Names in the order of the outputs."""
    mean: tuple[float, ...] | None = None
    """Per band, in the units of the raster's values; None: ImageNet's for red, green, blue in uint8."""
    std: tuple[float, ...] | None = None
    """Like `mean`."""
    tile: int | None = None
    """Side in pixels; None: 512."""
    bands: tuple[str, ...] | None = None
    """Names in the order of the inputs; None: red, green, blue for three."""
    dtype: str = "uint8"
    """Type of the raster's values."""
    trust: bool = False
    """Load graphs that may execute code."""
    options: ImportOptions = field(default_factory=ImportOptions)
    """Output stride and rates, where the file cannot say."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """A model package that was written."""

    manifest: ModelManifest
    """What it says of itself."""
    source: str
    """Whose file it was."""
    assumptions: tuple[str, ...]
    """What is not in the file."""
    dropped: tuple[str, ...]
    """Tensors that serve training only."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        architecture = self.manifest.architecture
        return {
            "name": self.manifest.name,
            "source": self.source,
            "architecture": architecture.arch,
            "backbone": architecture.backbone,
            "bands": list(self.manifest.bands),
            "classes": list(self.manifest.classes.names),
            "tile": self.manifest.tile,
            "assumptions": list(self.assumptions),
            "dropped": list(self.dropped),
            "weights_checksum": self.manifest.weights_checksum,
        }


def import_model(request: ImportRequest) -> ImportResult:
    """Make a model package of a checkpoint or a graph of another project.

    Raises
    ------
    ModelError
        Damaged, of another architecture, executing code, or not with these bands and classes.
    UsageError
        An option cannot be used.
    OutputError
        The folder is taken.
    """
    if not request.path.exists():
        msg = (
            f"{request.path} does not exist; give a checkpoint, a graph, or a folder of SMP's save_pretrained"
        )
        raise ModelError(msg)
    if request.tile is not None and request.tile < 1:
        msg = f"--tile {request.tile}: a side in pixels, 1 or more, is needed"
        raise UsageError(msg)
    refuse_package(request.out)
    if (request.path / MANIFEST_FILE).is_file():
        msg = f"{request.path} is a model package already; use it as --model {request.path}"
        raise ModelError(msg)
    kind = graph_kind(request.path) if request.path.is_file() else None
    return _import_weights(request) if kind is None else _import_graph(request, kind)


def refuse_package(out: Path) -> None:
    """Refuse a folder that holds a model package already, or a name that is a file.

    Raises
    ------
    OutputError
        It does.
    """
    if out.is_file() or (out / MANIFEST_FILE).exists():
        what = "a file" if out.is_file() else "a model package already"
        msg = f"--out {out} is {what}; name a new folder"
        raise OutputError(msg)


def _import_weights(request: ImportRequest) -> ImportResult:
    imported = import_weights(request.path, request.options)
    if imported.classes == 1 and len(request.classes) == 2:
        imported = with_background(imported)
    _check_count(request.path, "outputs", imported.classes, "--classes", request.classes)
    bands = _band_names(request.bands, imported.bands)
    _check_count(request.path, "input bands", imported.bands, "--bands", bands)
    manifest = _manifest(
        request, imported.architecture, bands, request.tile or _DEFAULT_TILE, imported.source
    )
    manifest = save_model_package(request.out, manifest, imported.state_dict)
    assumptions = (*imported.assumptions, *_usual_statistics(request))
    return ImportResult(manifest, imported.source, assumptions, imported.dropped)


def _import_graph(request: ImportRequest, kind: str) -> ImportResult:
    bands = request.bands or ("red", "green", "blue")
    tile = request.tile or _DEFAULT_TILE
    request.out.mkdir(parents=True, exist_ok=True)
    copy = request.out / f".graph.{os.getpid()}"
    try:
        graph = import_graph(
            request.path,
            kind,
            copy,
            bands=len(bands),
            classes=len(request.classes),
            tile=tile,
            trust=request.trust,
        )
        _check_count(request.path, "outputs", graph.classes, "--classes", request.classes)
        manifest = _manifest(request, graph.architecture, bands, tile, kind)
        manifest = save_graph_package(request.out, manifest, copy)
    finally:
        copy.unlink(missing_ok=True)
        if not any(request.out.iterdir()):
            request.out.rmdir()
    return ImportResult(manifest, kind, (*graph.assumptions, *_usual_statistics(request)), ())


def _check_count(path: Path, what: str, found: int, option: str, names: Sequence[str]) -> None:
    if found != len(names):
        msg = f"{path} has {found} {what}, but {option} names {len(names)} ({', '.join(names)})"
        raise ModelError(msg)


def _band_names(names: tuple[str, ...] | None, count: int) -> tuple[str, ...]:
    if names is not None:
        return names
    return ("red", "green", "blue") if count == 3 else tuple(f"band{number + 1}" for number in range(count))


def _manifest(
    request: ImportRequest, architecture: Architecture, bands: tuple[str, ...], tile: int, source: str
) -> ModelManifest:
    if tile % architecture.output_stride:
        msg = f"--tile {tile} is not a multiple of the output stride {architecture.output_stride}"
        raise UsageError(msg)
    return ModelManifest(
        name=request.out.resolve().name,
        architecture=architecture,
        bands=bands,
        dtype=request.dtype,
        mean=_statistics("--mean", request.mean, IMAGENET_MEAN, bands, request.dtype),
        std=_statistics("--std", request.std, IMAGENET_STD, bands, request.dtype),
        tile=tile,
        overlap=OVERLAP,
        classes=class_table(request.classes),
        description=f"Imported from {source}: {request.path.name}.",
        extra={"imported_from": {"source": source, "file": request.path.name}},
    )


def _usual_statistics(request: ImportRequest) -> tuple[str, ...]:
    """Say where a normalisation was not given; files do not hold it."""
    missing = [name for name, given in (("mean", request.mean), ("std", request.std)) if given is None]
    return (f"{' and '.join(missing)}: ImageNet's, times 255",) if missing else ()


def _statistics(
    option: str,
    given: tuple[float, ...] | None,
    imagenet: tuple[float, ...],
    bands: tuple[str, ...],
    dtype: str,
) -> tuple[float, ...]:
    """Return mean or standard deviation per band; ImageNet's where that is what the source trains with."""
    if given is not None:
        if len(given) != len(bands):
            msg = f"{option} has {len(given)} values for {len(bands)} bands; one per band is needed"
            raise UsageError(msg)
        return given
    if len(bands) != 3 or dtype != "uint8":
        msg = (
            f"{option} is needed for {len(bands)} bands of {dtype}: only 3 bands of uint8 have a usual value"
        )
        raise UsageError(msg)
    return tuple(round(value * _UINT8_MAX, 4) for value in imagenet)


def class_table(names: Sequence[str]) -> ClassTable:
    """Give class names codes from 0 on and colours that differ.

    Raises
    ------
    ModelError
        A name comes twice, or there is none.
    """
    from matplotlib import colormaps  # noqa: PLC0415 - slow to import, and only import and training need it

    palette = colormaps["tab20"]
    colors = [palette(code % palette.N, bytes=True)[:3] for code in range(len(names))]
    return ClassTable(
        tuple(
            MapClass(code, name, (int(red), int(green), int(blue)))
            for code, (name, (red, green, blue)) in enumerate(zip(names, colors, strict=True))
        )
    )
