"""The manifest of what was imported: how values are scaled, and what the user says beside the file."""

from __future__ import annotations

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.checkpoints.translation import Statistics
from segment_tiles.pipeline.models.graphs.checked_import import DEFAULT_TILE
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.model_packages.import_result import (
    checked_scaling,
    class_table,
    one_per_band,
    z_scores,
)
from segment_tiles.workflows.options.model_import import ImportRequest

OVERLAP = 0.5
"""Recommended overlap: DeepLab with rates (6, 12, 18) at stride 16 looks 288 px to each side."""
_UINT8_MAX = 255.0


def imported_manifest(
    request: ImportRequest,
    architecture: Architecture,
    bands: tuple[str, ...],
    names: tuple[str, ...],
    source: str,
    usual: Statistics | None,
) -> ModelManifest:
    """Return what a package says of itself.

    Parameters
    ----------
    request
        What the user says.
    architecture
        Of the network.
    bands, names
        Of bands and classes.
    source
        Project or kind of file.
    usual
        Mean and standard deviation if the user says none; None: there are no usual ones.

    Raises
    ------
    UsageError, ModelError
        If an option does not fit.
    """
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


def usual_statistics(request: ImportRequest, usual: Statistics | None) -> tuple[str, ...]:
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
