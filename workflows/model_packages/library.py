"""The models that a user has, and what one of them is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import nn

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.models.graphs.packaged import EXECUTES
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.packages.card import limits_of, scores_of
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.registry import bundled_models, find_model
from segment_tiles.pipeline.models.scaling.mlm import scaling_json
from segment_tiles.pipeline.wording import counted


def list_models(folders: list[str]) -> list[dict[str, Any]]:
    """Describe the bundled models, and the model packages in `folders`, in a line each.

    Raises
    ------
    ModelError
        A folder that is named is not a model package, or one is damaged.
    """
    found = [(name, "bundled", find_model(name)) for name in bundled_models()]
    found += [(folder, "local", find_model(folder)) for folder in folders]
    return [_line(name, origin, load_manifest(folder)) for name, origin, folder in found]


def inspect_model(name_or_path: str, *, trust: bool, scene: str | None = None) -> dict[str, Any]:
    """Describe one model in JSON values: architecture, cost at its tile size, reach against its halo, warnings.

    Parameters
    ----------
    name_or_path
        Bundled name, or folder or URL of a model package.
    trust
        Load a graph that may execute code.
    scene
        Raster on which it is measured how far neighbouring tiles disagree; None: not measured.

    Raises
    ------
    ModelError
        Not a model, damaged, or a graph that executes and is not trusted.
    SourceError, UsageError
        The scene cannot be opened, or does not fit the model.
    """
    folder = find_model(name_or_path)
    manifest = load_manifest(folder)
    network = load_network(folder, manifest, trust=trust)
    halo = manifest.overlap_of(manifest.tile) // 2
    measured = _nothing() if manifest.architecture.is_graph else _measured(network, manifest)
    reach = measured["reach"]
    return {
        "name": manifest.name,
        "folder": str(folder),
        "description": manifest.description,
        "architecture": _architecture(manifest),
        "bands": list(manifest.bands),
        "dtype": manifest.dtype,
        "mean": list(manifest.mean) if manifest.scaling.is_fixed_z_score else None,
        "std": list(manifest.std) if manifest.scaling.is_fixed_z_score else None,
        "scaling": str(manifest.scaling),
        "value_scaling": scaling_json(manifest.scaling),
        "values": manifest.scaling.values,
        "classes": list(manifest.classes.names),
        "heads": {head.name: list(head.classes.names) for head in manifest.heads},
        "pixel_size": manifest.pixel_size,
        "pixel_unit": manifest.pixel_unit,
        "tile": manifest.tile,
        "overlap": manifest.overlap,
        "halo": halo,
        "output": manifest.output.to_json(),
        **measured,
        "seams": None if scene is None else _seams(network, manifest, scene),
        "weights_checksum": manifest.weights_checksum,
        "scores": scores_of(manifest),
        "limits": limits_of(manifest),
        "extra": dict(manifest.extra),
        "warnings": _warnings(manifest, halo, None if reach is None else reach["effective"]),
    }


def _nothing() -> dict[str, Any]:
    """Of a packaged graph neither cost nor reach can be seen."""
    return {"parameters": None, "multiply_adds": None, "reach": None}


def _measured(network: nn.Module, manifest: ModelManifest) -> dict[str, Any]:
    from segment_tiles.pipeline.models.inspection import (  # noqa: PLC0415 - slow to import, `model list` need not wait
        count_multiply_adds,
        count_parameters,
        measure_reach,
    )

    bands, tile = len(manifest.bands), manifest.tile
    return {
        "parameters": count_parameters(network),
        "multiply_adds": count_multiply_adds(
            manifest.architecture, bands, manifest.classes.count, tile, tile
        ),
        "reach": asdict(measure_reach(network, bands, tile)),
    }


def _seams(network: nn.Module, manifest: ModelManifest, scene: str) -> dict[str, Any]:
    """Measure how far neighbouring tiles disagree on a scene, at the tile and overlap of the model."""
    from segment_tiles.pipeline.learning.scores.seam_disagreement import measure_seams  # noqa: PLC0415 - as above
    from segment_tiles.pipeline.models.devices import resolve_device  # noqa: PLC0415
    from segment_tiles.pipeline.models.segmenter import Segmenter  # noqa: PLC0415
    from segment_tiles.pipeline.sources.open import open_source  # noqa: PLC0415
    from segment_tiles.pipeline.sources.stacks.resolve import OF_NO_STACK, resolved  # noqa: PLC0415

    source = open_source(resolved(scene, OF_NO_STACK, lambda: manifest.bands))
    try:
        spec = source.spec
        if spec.bands != len(manifest.bands):
            names = ", ".join(manifest.bands)
            msg = f"--scene {scene} has {counted(spec.bands, 'band')}; the model has {len(manifest.bands)}: {names}"
            raise UsageError(msg)
        overlap = manifest.overlap_of(manifest.tile)
        lattice = Lattice(spec.height, spec.width, manifest.tile, overlap, manifest.output.margin)
        manifest = manifest.with_units(spec.scale_offsets)
        segmenter = Segmenter(network, manifest, resolve_device("auto"))
        seams = measure_seams(source, segmenter, lattice, spec.window)
    finally:
        source.close()
    if not seams.pixels:
        msg = f"--scene {scene} is one tile of {manifest.tile} px, without neighbours; name a larger one"
        raise UsageError(msg)
    return {
        "scene": scene,
        "pixels": seams.pixels,
        "class_share": seams.class_share,
        "score_difference": seams.score_difference,
    }


def _line(name: str, origin: str, manifest: ModelManifest) -> dict[str, Any]:
    architecture = manifest.architecture
    return {
        "name": name,
        "origin": origin,
        "architecture": architecture.arch,
        "backbone": architecture.backbone,
        "bands": list(manifest.bands),
        "classes": list(manifest.classes.names),
        "tile": manifest.tile,
        "pixel_size": manifest.pixel_size,
        "pixel_unit": manifest.pixel_unit,
        "description": manifest.description,
        "scores": scores_of(manifest),
        "limits": limits_of(manifest),
    }


def _architecture(manifest: ModelManifest) -> dict[str, Any]:
    architecture = manifest.architecture
    if architecture.is_graph:
        return {
            "arch": architecture.arch,
            "file": architecture.backbone,
            "details": dict(architecture.details),
        }
    return {
        "arch": architecture.arch,
        "backbone": architecture.backbone,
        "output_stride": architecture.output_stride,
        "atrous_rates": list(architecture.atrous_rates),
        "image_pooling": architecture.image_pooling,
        "image_pooling_window": architecture.image_pooling_window,
        "align_corners": architecture.align_corners,
        "details": dict(architecture.details),
    }


def _warnings(manifest: ModelManifest, halo: int, effective: int | None) -> list[str]:
    architecture, warnings = manifest.architecture, []
    if architecture.is_graph:
        executes = "; it may execute code when loaded" if architecture.arch in EXECUTES else ""
        warnings.append(f"a packaged graph: its inside, cost and reach cannot be seen{executes}")
        return warnings
    if architecture.image_pooling == "global":
        warnings.append(
            "global image pooling: every pixel depends on its whole tile, so neighbouring tiles may disagree; "
            "blend with overlap 0.5, or train with image pooling 'window' or 'off'"
        )
    elif effective is not None and effective > halo:
        warnings.append(
            f"the effective reach is {effective} px, the halo {halo} px: pixels near tile edges see less than "
            "they would; raise --overlap or --tile"
        )
    if architecture.align_corners:
        warnings.append(
            "corners are aligned, as where the weights come from: feature positions shift within a tile, "
            "so results depend a little on where tiles lie"
        )
    return warnings
