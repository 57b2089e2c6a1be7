"""Graphs of other projects made into model packages: one class map, or several heads."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.checkpoints.translation import IMAGENET
from segment_tiles.pipeline.models.graphs.asked_heads import AskedHead, asked_heads
from segment_tiles.pipeline.models.graphs.checked_import import (
    GraphOptions,
    ImportedGraph,
    import_graph,
)
from segment_tiles.pipeline.models.graphs.probing import Asked
from segment_tiles.pipeline.models.package import save_graph_package
from segment_tiles.pipeline.models.packages.manifest import Head, ModelManifest
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.model_packages.import_result import (
    ImportResult,
    check_count,
    class_table,
    names_of_outputs,
)
from segment_tiles.workflows.model_packages.imported_manifest import imported_manifest, usual_statistics
from segment_tiles.workflows.options.model_import import ImportRequest


def import_packaged_graph(request: ImportRequest, kind: str) -> ImportResult:
    """Make a model package of a graph.

    Raises
    ------
    ModelError, UsageError
        As `import_model`.
    """
    bands = request.bands or ("red", "green", "blue")
    request.out.mkdir(parents=True, exist_ok=True)
    copy = request.out / f".graph.{os.getpid()}"
    asked = asked_heads(request.heads) or (AskedHead("", request.use_output or "", request.classes),)
    try:
        graphs = [
            import_graph(request.path, kind, copy, _graph_options(request, len(bands), one.output or None))
            for one in asked
        ]
        found = [
            names_of_graph(request.path, one.classes, graph) for one, graph in zip(asked, graphs, strict=True)
        ]
        request = replace(request, tile=graphs[0].tile)
        (names, _), *_ = found
        manifest = imported_manifest(request, graphs[0].architecture, bands, names, kind, IMAGENET)
        if request.heads:
            heads = zip(asked, graphs, found, strict=True)
            manifest = replace(manifest, heads=tuple(_head(one, graph, n) for one, graph, (n, _) in heads))
        manifest = save_graph_package(request.out, _with_output(manifest, graphs[0]), copy)
    finally:
        copy.unlink(missing_ok=True)
        if not any(request.out.iterdir()):
            request.out.rmdir()
    told = [
        f"{one.name}: {note}" if one.name else note
        for one, graph, (_, named) in zip(asked, graphs, found, strict=True)
        for note in (*named, *graph.assumptions)
    ]
    return ImportResult(manifest, kind, (*told, *usual_statistics(request, IMAGENET)), ())


def _head(asked: AskedHead, graph: ImportedGraph, names: tuple[str, ...]) -> Head:
    architecture = graph.architecture
    return Head(
        asked.name, class_table(names), architecture.details, architecture.output_stride, graph.geometry
    )


def _graph_options(request: ImportRequest, bands: int, output: str | None) -> GraphOptions:
    asked = Asked(request.margin, request.coarser, request.align_corners, request.multi_label)
    return GraphOptions(
        bands, request.tile, request.trust, request.layout, output, dict(request.constants), asked
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
