"""Calibrates the models of a run for int8 on tiles of a scene, once for each model and side of a tile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Final

from filelock import FileLock

from segment_tiles.pipeline.durable import make_folder
from segment_tiles.pipeline.errors import UsageError, WriteFailedError, one_line
from segment_tiles.pipeline.installed import cache_folder
from segment_tiles.pipeline.models.backends.int8 import require_nncf
from segment_tiles.pipeline.models.calibration.kept import Calibrations, kept_calibrations, path_of
from segment_tiles.pipeline.models.packages.manifest_file import read_document, weights_path
from segment_tiles.workflows.scenes.scene import Scene

if TYPE_CHECKING:
    from segment_tiles.pipeline.models.packages.manifest import ModelManifest
    from segment_tiles.pipeline.models.precision import Sample
    from segment_tiles.workflows.regions.loaded_model import LoadedPackage

log = logging.getLogger(__name__)


FIXED_BYTES: Final = 512 * 2**20
"""Of NNCF and OpenVINO."""
BYTES_OF_PIXEL: Final = 6 * 2**10
"""Of a tile: activations of all layers, whose ranges are measured."""
FORMS: Final = 8
"""Of the weights, which are there in several forms at once."""


def calibrating_at_most(scene: Scene) -> int:
    """Return the bytes that calibrating takes beside the program, estimated from above.

    For ``canopy-rgb`` on 16 tiles of 512 px 1.02 GB were measured, and 2.20 are estimated; of 256 px 0.60, and 0.99.
    """
    weights = sum(weights_path(folder, read_document(folder)).stat().st_size for folder, _ in scene.members)
    return FIXED_BYTES + FORMS * weights + BYTES_OF_PIXEL * scene.lattice.tile**2


def calibrated(
    manifests: Sequence[ModelManifest],
    side: int,
    packages: Callable[[], Sequence[LoadedPackage]],
    tiles: Callable[[], Sample | None],
    names: Sequence[str],
    *,
    anew: bool = False,
) -> Calibrations:
    """Return what is kept for models; what is not there is calibrated and kept.

    Parameters
    ----------
    manifests, side
        The models, and the side of a tile in pixels.
    packages
        Gives the models with their networks.
    tiles
        Gives tiles with data.
    names
        Of the scenes that they are of, as they may be shown.
    anew
        Whether what is kept is made again.

    Raises
    ------
    MissingExtraError
        If NNCF is not installed.
    UsageError
        If no tile has data.
    ModelError
        If a network cannot be quantised.
    WriteFailedError
        If it cannot be kept.
    """
    folder = cache_folder() / "int8"
    try:
        make_folder(folder)
    except OSError as error:
        msg = f"{folder}: a calibrated network cannot be kept there ({one_line(error)}); set XDG_CACHE_HOME"
        raise WriteFailedError(msg) from error
    with FileLock(folder / "lock"):  # a second process waits, and takes what the first one made
        kept = kept_calibrations(manifests, side)
        if anew or not kept:
            _calibrate(side, packages, tiles, names)
            kept = kept_calibrations(manifests, side)
    return kept


def _calibrate(
    side: int,
    packages: Callable[[], Sequence[LoadedPackage]],
    tiles: Callable[[], Sample | None],
    names: Sequence[str],
) -> None:
    require_nncf()
    sample = tiles()
    if sample is None:
        msg = (
            f"--precision int8: {', '.join(names)} has no tile with data on which the model could be calibrated; "
            "calibrate it on another scene: segment-tiles tune MODEL --calibrate SCENE"
        )
        raise UsageError(msg)
    from segment_tiles.pipeline.models.calibration.calibrate import calibrate  # noqa: PLC0415 - brings torch

    made = {"made": date.today().isoformat(), "scenes": list(names)}
    for package in packages():
        path = path_of(package.manifest, side)
        log.info("%s: calibrated for int8 on %d tiles", package.manifest.name, sample.count)
        calibrate(package.network, package.manifest, package.folder, sample, made).write(path)
