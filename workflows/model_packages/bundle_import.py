"""MONAI bundles made into model packages."""

from __future__ import annotations

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.models.checkpoints.monai.bundle import Bundle, read_bundle
from segment_tiles.pipeline.models.checkpoints.monai.preprocessing import Preprocessing
from segment_tiles.pipeline.models.package import save_model_package
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.model_packages.import_result import (
    ImportResult,
    check_count,
    checked_scaling,
    class_table,
    names_of_outputs,
    one_per_band,
    z_scores,
)
from segment_tiles.workflows.options.model_import import ImportRequest

SOURCE = "MONAI bundle"
OVERLAP = 0.5
"""Recommended overlap, as MONAI's sliding windows are used."""
DEFAULT_TILE = 256


def import_bundle(request: ImportRequest) -> ImportResult:
    """Make a model package of a MONAI bundle; what the options do not say, its metadata may.

    Raises
    ------
    ModelError
        The bundle cannot be read, or is not with these bands and classes.
    UsageError
        Neither options nor bundle say names of classes, mean or standard deviation.
    """
    bundle = read_bundle(request.path, trust=request.trust)
    table, named = _classes(request, bundle)
    bands = request.bands or tuple(f"band{number + 1}" for number in range(bundle.bands))
    if len(bands) != bundle.bands:
        msg = f"{request.path} has {counted(bundle.bands, 'input band')}, but --bands names {len(bands)}"
        raise ModelError(msg)
    multiple = bundle.architecture.output_stride
    tile = request.tile or -(-(bundle.tile or DEFAULT_TILE) // multiple) * multiple
    if tile % multiple:
        msg = f"--tile {tile} is not a multiple of {multiple}, the product of the network's strides"
        raise UsageError(msg)
    manifest = ModelManifest(
        name=request.out.resolve().name,
        architecture=bundle.architecture,
        bands=bands,
        dtype=request.dtype,
        scaling=_scaling(request, bundle.preprocessing, bands),
        tile=tile,
        overlap=OVERLAP,
        classes=table,
        pixel_size=bundle.preprocessing.pixel_size,
        pixel_unit="millimeter",
        description=f"Imported from {SOURCE} {bundle.name} {bundle.version}.".replace(" .", "."),
        extra={"imported_from": {"source": SOURCE, "name": bundle.name, "version": bundle.version}},
    )
    manifest = save_model_package(request.out, manifest, bundle.state_dict)
    assumptions = (*named, *bundle.assumptions)
    return ImportResult(manifest, SOURCE, assumptions, ())


def _classes(request: ImportRequest, bundle: Bundle) -> tuple[ClassTable, tuple[str, ...]]:
    names, notes = names_of_outputs(request.classes or bundle.classes, bundle.outputs)
    if not names:
        msg = f"{request.path} does not name its outputs, {bundle.outputs} in number; name them by --classes A,B,.."
        raise UsageError(msg)
    check_count(request.path, bundle.outputs, names)
    if bundle.outputs == 1:
        notes = (
            *notes,
            "one output read by sigmoid became two read by softmax: the first class is the background",
        )
    return class_table(names), notes


def _scaling(request: ImportRequest, said: Preprocessing, bands: tuple[str, ...]) -> Scaling:
    """Return the scaling of the options, else that of the bundle."""
    if request.scaling is not None:
        return checked_scaling(request.scaling, bands)
    found = said.scaling
    if request.mean is None and request.std is None and found is not None:
        return found
    numbers = found.chains[0][0] if found is not None and found.is_fixed_z_score else None
    return z_scores(
        _statistics("--mean", request.mean, None if numbers is None else numbers.first, bands),
        _statistics("--std", request.std, None if numbers is None else numbers.second, bands),
    )


def _statistics(
    option: str, given: tuple[float, ...] | None, said: float | None, bands: tuple[str, ...]
) -> tuple[float, ...]:
    if given is not None:
        return one_per_band(option, given, bands)
    if said is None:
        msg = (
            f"{option} is needed: the bundle does not say in a way that can be followed here how values are scaled; "
            "give it, or the whole scaling with --scaling"
        )
        raise UsageError(msg)
    return (said,) * len(bands)
