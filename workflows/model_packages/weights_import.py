"""Weights and graphs of other projects made into model packages."""

from __future__ import annotations

from pathlib import Path

from segment_tiles.pipeline.errors import ModelError, OutputError, UsageError
from segment_tiles.pipeline.models.checkpoints.file_kinds import refuse_foreign_file
from segment_tiles.pipeline.models.checkpoints.monai.bundle import is_bundle
from segment_tiles.pipeline.models.checkpoints.recognition import import_weights, with_background
from segment_tiles.pipeline.models.checkpoints.translation import (
    ImportOptions,
)
from segment_tiles.pipeline.models.graphs.packaged import graph_kind
from segment_tiles.pipeline.models.package import (
    MANIFEST_FILE,
    save_model_package,
)
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.model_packages.bundle_import import import_bundle
from segment_tiles.workflows.model_packages.graph_import import import_packaged_graph
from segment_tiles.workflows.model_packages.import_result import (
    ImportResult,
    check_count,
    class_table,
    names_of_outputs,
)
from segment_tiles.workflows.model_packages.imported_manifest import imported_manifest, usual_statistics
from segment_tiles.workflows.options.declare import chosen
from segment_tiles.workflows.options.model_import import ImportRequest
from segment_tiles.workflows.output_folder.check import check_output_folder

__all__ = ["ImportRequest", "ImportResult", "class_table", "import_model", "refuse_package"]


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
    if not request.classes and not request.heads:
        msg = f"{request.path}: --classes is needed; name the outputs in their order, A,B,.."
        raise UsageError(msg)
    kind = None
    if request.path.is_file():
        refuse_foreign_file(request.path)
        kind = graph_kind(request.path)
    if kind is not None:
        return import_packaged_graph(request, kind)
    _refuse_graph_options(request)
    return _import_weights(request)


def _refuse_graph_options(request: ImportRequest) -> None:
    """Refuse options that say how a graph is called or read, for weights of networks that are built here."""
    names = (
        "margin",
        "coarser",
        "align_corners",
        "multi_label",
        "layout",
        "use_output",
        "heads",
        "constants",
    )
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
    manifest = imported_manifest(request, imported.architecture, bands, names, imported.source, usual)
    manifest = save_model_package(request.out, manifest, imported.state_dict)
    assumptions = (*named, *imported.assumptions, *usual_statistics(request, usual))
    return ImportResult(manifest, imported.source, assumptions, imported.dropped)


def _band_names(names: tuple[str, ...] | None, count: int) -> tuple[str, ...]:
    if names is not None:
        return names
    return ("red", "green", "blue") if count == 3 else tuple(f"band{number + 1}" for number in range(count))
