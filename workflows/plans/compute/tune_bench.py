"""One way after the other to run a model, each measured once for `tune`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.calibration.calibrated import INT8
from segment_tiles.pipeline.models.calibration.kept import Calibrations, calibrated_for
from segment_tiles.workflows.plans.compute.kept_choice import Choice
from segment_tiles.workflows.plans.compute.smooth_noise import smooth_noise

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from segment_tiles.pipeline.models.packages.manifest import ModelManifest
    from segment_tiles.pipeline.models.trials import PrecisionTrial
    from segment_tiles.workflows.regions.loaded_model import LoadedPackage


@dataclass(frozen=True, slots=True)
class Measurement:
    """One way to run the model, measured."""

    backend: str
    precision: str
    tile: int
    """Side in pixels."""
    batch: int
    """Tiles of a forward pass."""
    seconds_per_tile: float
    nanoseconds_per_pixel: float
    """Per useful pixel."""
    agreement: float
    """Share of decided pixels with the class that float32 in torch gives; of other sides and batches that of the
    pair."""
    refused: str = ""
    """Why it was not measured or not accepted."""


@dataclass(slots=True)
class TuneBench:
    """What all measurements share."""

    package: LoadedPackage
    """The model, loaded."""
    device: torch.device
    """Where it runs."""
    overlap: int
    """In pixels, the same for all sides."""
    deadline: float
    """Seconds of `perf_counter` after which nothing further is begun."""
    before: Choice
    """What was kept before: how a precision does on real tiles counts more than how it does on noise."""
    calibrations: Calibrations
    """The calibrated network of the model, if there is one."""
    done: list[Measurement] = field(default_factory=list)
    """In the order in which they were made."""
    trials: list[PrecisionTrial] = field(default_factory=list)
    """Of pairs of backend and precision, on noise."""

    @property
    def manifest(self) -> ModelManifest:
        """What the package says of itself."""
        return self.package.manifest

    def has_time(self, seconds: float) -> bool:
        """Return whether something that takes so long may still be begun."""
        return perf_counter() + seconds < self.deadline


def measured_way(
    bench: TuneBench,
    backend: str,
    precision: str,
    tile: int,
    batch: int,
    reference: Tensor | None,
    agreement: float = 1.0,
) -> Measurement | None:
    """Measure one way; None if it was refused or there is no time, which the list of measurements says."""
    import torch  # noqa: PLC0415

    from segment_tiles.pipeline.models.backends.known import BACKENDS  # noqa: PLC0415
    from segment_tiles.pipeline.models.precision import (  # noqa: PLC0415
        compare,
        timed_scores,
    )
    from segment_tiles.pipeline.models.trials import PrecisionTrial  # noqa: PLC0415

    needed = (
        0.0 if _is_converted(bench, backend, precision, tile, batch) else BACKENDS[backend].conversion_seconds
    )
    if not bench.has_time(needed):
        _refuse(
            bench,
            backend,
            precision,
            tile,
            batch,
            f"its conversion takes about {needed:.0f} s; give --seconds",
        )
        return None
    values = smooth_noise(bench.manifest, batch, tile)
    try:
        scorer = scorer_for(bench, backend, precision, tile, batch)
        scores, seconds = timed_scores(scorer, values, None)
    except (ModelError, torch.OutOfMemoryError) as error:
        _refuse(bench, backend, precision, tile, batch, str(error).splitlines()[0])
        return None
    trial = PrecisionTrial(precision, agreement, 0.0, seconds, backend, decided_agreement=agreement)
    if reference is not None:
        trial = compare(precision, scores, reference, None, seconds, backend)
        bench.trials.append(trial)
        trial = bench.before.trial(trial.pair) or trial
        trial = replace(trial, seconds=seconds)
    if not trial.is_accepted:
        reason = f"only {trial.decided_agreement:.2%} of decided pixels as in float32"
        _refuse(bench, backend, precision, tile, batch, reason)
        return None
    return keep_measured(bench, trial, tile, batch)


def keep_measured(bench: TuneBench, trial: PrecisionTrial, tile: int, batch: int) -> Measurement:
    """Note a way that was measured, and return it."""
    per_tile = trial.seconds / batch
    useful = (tile - bench.overlap) ** 2
    found = Measurement(
        trial.backend,
        trial.precision,
        tile,
        batch,
        per_tile,
        1e9 * per_tile / useful,
        trial.decided_agreement,
    )
    bench.done.append(found)
    return found


def _refuse(bench: TuneBench, backend: str, precision: str, tile: int, batch: int, reason: str) -> None:
    bench.done.append(Measurement(backend, precision, tile, batch, 0.0, 0.0, 0.0, reason))


def scorer_for(bench: TuneBench, backend: str, precision: str, tile: int, batch: int) -> Any:
    """Return the model, ready to run in one way."""
    from segment_tiles.pipeline.models.segmenter import Segmenter  # noqa: PLC0415

    package, calibrated = bench.package, None
    if precision == INT8:
        (checksum,) = bench.calibrations.checksums
        calibrated = calibrated_for(package.manifest, tile, checksum, None)
    return Segmenter(
        package.network, package.manifest, bench.device, precision,
        backend=backend, batch=batch, tile=tile, folder=package.folder, calibrated=calibrated,
    )  # fmt: skip


def _is_converted(bench: TuneBench, backend: str, precision: str, tile: int, batch: int) -> bool:
    from segment_tiles.pipeline.models.backends.known import BACKENDS  # noqa: PLC0415
    from segment_tiles.pipeline.models.backends.protocol import Preparation  # noqa: PLC0415

    manifest = bench.manifest
    shape = (batch, len(manifest.bands), tile, tile)
    folder: Path = bench.package.folder
    preparation = Preparation(shape, bench.device, precision, manifest.network_checksum, folder)
    return BACKENDS[backend].is_prepared(preparation)
