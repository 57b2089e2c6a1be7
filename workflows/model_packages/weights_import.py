"""Weights and graphs of other projects made into model packages."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from segment_tiles.pipeline.errors import ModelError, OutputError, UsageError
from segment_tiles.pipeline.models.checkpoints.file_kinds import refuse_foreign_file
from segment_tiles.pipeline.models.checkpoints.monai.bundle import is_bundle
from segment_tiles.pipeline.models.checkpoints.recognition import import_weights, with_background
from segment_tiles.pipeline.models.checkpoints.translation import (
    IMAGENET,
    ImportOptions,
    Statistics,
)
from segment_tiles.pipeline.models.graphs.checked_import import (
    DEFAULT_TILE,
    GraphOptions,
    ImportedGraph,
    import_graph,
)
from segment_tiles.pipeline.models.graphs.packaged import graph_kind
from segment_tiles.pipeline.models.graphs.probing import Asked
from segment_tiles.pipeline.models.package import (
    MANIFEST_FILE,
    save_graph_package,
    save_model_package,
)
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.model_packages.bundle_import import import_bundle
from segment_tiles.workflows.model_packages.import_result import (
    ImportResult,
    check_count,
    checked_scaling,
    class_table,
    names_of_outputs,
    one_per_band,
    z_scores,
)
from segment_tiles.workflows.options.declare import chosen
from segment_tiles.workflows.options.model_import import ImportRequest
from segment_tiles.workflows.output_folder.check import check_output_folder

__all__ = ["ImportRequest", "ImportResult", "class_table", "import_model", "refuse_package"]

OVERLAP = 0.5
"""Recommended overlap: DeepLab with rates (6, 12, 18) at stride 16 looks 288 px to each side."""
_UINT8_MAX = 255.0


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
            f"{request.path} does not exist; give a checkpoint, a graph, a MONAI bundle, or a folder of SMP's "
            "save_pretrained"
        )
        raise ModelError(msg)
    if request.tile is not None and request.tile < 1:
        msg = f"--tile {request.tile}: a side in pixels, 1 or more, is needed"
        raise UsageError(msg)
    refuse_package(request.out)
    if (request.path / MANIFEST_FILE).is_file():
        msg = f"{request.path} is a model package already; use it as --model {request.path}"
        raise ModelError(msg)
    if is_bundle(request.path):
        return import_bundle(request)
    if not request.classes:
        msg = f"{request.path}: --classes is needed; name the outputs in their order, A,B,.."
        raise UsageError(msg)
    kind = None
    if request.path.is_file():
        refuse_foreign_file(request.path)
        kind = graph_kind(request.path)
    if kind is not None:
        return _import_graph(request, kind)
    _refuse_graph_options(request)
    return _import_weights(request)


def _refuse_graph_options(request: ImportRequest) -> None:
    """Refuse options that say how a graph is called or read, for weights of networks that are built here."""
    names = ("margin", "coarser", "align_corners", "multi_label", "layout", "use_output", "constants")
    for declared in chosen(ImportRequest, *names):
        if getattr(request, declared.field) not in {None, False, ()}:
            msg = f"{declared.shown} is of graphs; {request.path} holds weights, whose network is built here"
            raise UsageError(msg)


def refuse_package(out: Path) -> None:
    """Refuse a folder that holds a model package already, or that cannot be written.

    Raises
    ------
    UsageError
        It is a URL.
    OutputError
        It is or cannot.
    """
    check_output_folder(out)
    if (out / MANIFEST_FILE).exists():
        msg = f"--out {out}: is a model package already; name a new folder"
        raise OutputError(msg)


def _import_weights(request: ImportRequest) -> ImportResult:
    imported = import_weights(request.path, ImportOptions(request.output_stride, request.atrous_rates))
    names, named = names_of_outputs(request.classes, imported.classes)
    check_count(request.path, imported.classes, names)
    if imported.classes == 1:
        imported = with_background(imported)
    bands = _band_names(request.bands, imported.bands)
    if len(bands) != imported.bands:
        found = counted(imported.bands, "input band")
        msg = f"{request.path} has {found}, but --bands names {len(bands)} ({', '.join(bands)})"
        raise ModelError(msg)
    usual = imported.statistics
    manifest = _manifest(request, imported.architecture, bands, names, imported.source, usual)
    manifest = save_model_package(request.out, manifest, imported.state_dict)
    assumptions = (*named, *imported.assumptions, *_usual_statistics(request, usual))
    return ImportResult(manifest, imported.source, assumptions, imported.dropped)


def _import_graph(request: ImportRequest, kind: str) -> ImportResult:
    bands = request.bands or ("red", "green", "blue")
    request.out.mkdir(parents=True, exist_ok=True)
    copy = request.out / f".graph.{os.getpid()}"
    try:
        graph = import_graph(request.path, kind, copy, _graph_options(request, len(bands)))
        names, named = names_of_graph(request.path, request.classes, graph)
        request = replace(request, tile=graph.tile)
        manifest = _manifest(request, graph.architecture, bands, names, kind, IMAGENET)
        manifest = save_graph_package(request.out, _with_output(manifest, graph), copy)
    finally:
        copy.unlink(missing_ok=True)
        if not any(request.out.iterdir()):
            request.out.rmdir()
    return ImportResult(
        manifest, kind, (*named, *graph.assumptions, *_usual_statistics(request, IMAGENET)), ()
    )


def _graph_options(request: ImportRequest, bands: int) -> GraphOptions:
    asked = Asked(request.margin, request.coarser, request.align_corners, request.multi_label)
    return GraphOptions(
        bands, request.tile, request.trust, request.layout, request.use_output, dict(request.constants), asked
    )


def names_of_graph(
    path: Path, names: tuple[str, ...], graph: ImportedGraph
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the classes of a graph, and what was concluded; of one whose classes overlap as they are.

    Raises
    ------
    ModelError
        If there are more or fewer names than outputs.
    """
    if not graph.geometry.multi_label:
        found, notes = names_of_outputs(names, graph.outputs)
        check_count(path, graph.outputs, found)
        return found, notes
    if len(names) != graph.outputs:
        msg = f"{path} has {counted(graph.outputs, 'output')}, but --classes names {len(names)} ({', '.join(names)})"
        raise ModelError(msg)
    return names, ()


def _with_output(manifest: ModelManifest, graph: ImportedGraph) -> ModelManifest:
    """Return the manifest with where its output lies; tiles whose outputs are cropped lie side by side."""
    margin = graph.geometry.margin
    overlap = 2 * margin / graph.tile if margin else manifest.overlap
    return replace(manifest, output=graph.geometry, overlap=overlap)


def _band_names(names: tuple[str, ...] | None, count: int) -> tuple[str, ...]:
    if names is not None:
        return names
    return ("red", "green", "blue") if count == 3 else tuple(f"band{number + 1}" for number in range(count))


def _manifest(
    request: ImportRequest,
    architecture: Architecture,
    bands: tuple[str, ...],
    names: tuple[str, ...],
    source: str,
    usual: Statistics | None,
) -> ModelManifest:
    tile = request.tile or DEFAULT_TILE
    if tile % architecture.output_stride:
        msg = f"--tile {tile} is not a multiple of the output stride {architecture.output_stride}"
        raise UsageError(msg)
    return ModelManifest(
        name=request.out.resolve().name,
        architecture=architecture,
        bands=bands,
        dtype=request.dtype,
        scaling=_scaling(request, usual, bands),
        tile=tile,
        overlap=OVERLAP,
        classes=class_table(names),
        description=f"Imported from {source}: {request.path.name}.",
        extra={"imported_from": {"source": source, "file": request.path.name}},
    )


def _scaling(request: ImportRequest, usual: Statistics | None, bands: tuple[str, ...]) -> Scaling:
    if request.scaling is not None:
        return checked_scaling(request.scaling, bands)
    return z_scores(
        _statistics("--mean", request.mean, usual.mean if usual else None, bands, request.dtype),
        _statistics("--std", request.std, usual.std if usual else None, bands, request.dtype),
    )


def _usual_statistics(request: ImportRequest, usual: Statistics | None) -> tuple[str, ...]:
    """Say where a normalisation was not given; files do not hold it."""
    if request.scaling is not None:
        return ()
    missing = [name for name, given in (("mean", request.mean), ("std", request.std)) if given is None]
    return (f"{' and '.join(missing)}: {usual.whose}, times 255",) if missing and usual else ()


def _statistics(
    option: str,
    given: tuple[float, ...] | None,
    usual: tuple[float, ...] | None,
    bands: tuple[str, ...],
    dtype: str,
) -> tuple[float, ...]:
    """Return mean or standard deviation per band; the usual ones if the source trains with them."""
    if given is not None:
        return one_per_band(option, given, bands)
    if usual is None:
        msg = (
            f"{option} is needed: the encoder of this network was trained with other values than ImageNet's; give "
            "those that you trained with, in the units of the raster's values"
        )
        raise UsageError(msg)
    if len(bands) != 3 or dtype != "uint8":
        these = f"{counted(len(bands), 'band')} of {dtype}"
        msg = f"{option} is needed for {these}: only 3 bands of uint8 have a usual value"
        raise UsageError(msg)
    return tuple(round(value * _UINT8_MAX, 4) for value in usual)
