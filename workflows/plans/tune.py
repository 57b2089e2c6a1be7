"""Tune: which backend, precision, side and batch run a model fastest on this machine, per useful pixel.

A tile of side T with an overlap of V pixels gives (T - V) x (T - V) pixels that no other tile gives. With the
same V, larger tiles waste less; how much they cost is measured, because caches and kernels decide.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.grid.lattice import overlap_pixels
from segment_tiles.workflows.plans.kept_choice import Choice, ChoiceFile, Tuning, choice_file
from segment_tiles.workflows.plans.smooth_noise import smooth_noise

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from segment_tiles.pipeline.models.packages.manifest import ModelManifest
    from segment_tiles.pipeline.models.trials import PrecisionTrial
    from segment_tiles.workflows.regions.loaded_model import LoadedPackage

SIDES = (1.5, 2.0, 3.0)
"""Sides that are tried, in sides of the model's own tile."""
LARGEST_BATCH = {"cpu": 4, "cuda": 64}
"""Batches are doubled up to this many tiles."""
WORTH_IT = 0.97
"""Share of the cost of what is known below which something else is taken: timings scatter."""
SECONDS = 50.0
"""Time after which nothing further is begun, unless told."""


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
class _Bench:
    """What all measurements share."""

    package: LoadedPackage
    device: torch.device
    overlap: int
    deadline: float
    before: Choice
    """What was kept before: how a precision does on real tiles counts more than how it does on noise."""
    done: list[Measurement] = field(default_factory=list)
    trials: list[PrecisionTrial] = field(default_factory=list)

    @property
    def manifest(self) -> ModelManifest:
        return self.package.manifest

    def has_time(self, seconds: float) -> bool:
        return perf_counter() + seconds < self.deadline


def tune(
    model: str, *, device: str = "auto", seconds: float = SECONDS, trust: bool = False
) -> dict[str, Any]:
    """Measure a model, keep the fastest way, and return all that was measured as plain JSON values.

    Parameters
    ----------
    model
        Bundled name or folder.
    device
        auto, cpu, cuda or cuda:N.
    seconds
        Time after which nothing further is begun; backends whose conversion does not fit are left out.
    trust
        Whether a graph that may execute code is loaded.

    Raises
    ------
    ModelError, UsageError
        If the model cannot be loaded, or the device is not there.
    """
    from segment_tiles.pipeline.models.devices import device_label, resolve_device  # noqa: PLC0415
    from segment_tiles.pipeline.models.inference_network import load_rewritten  # noqa: PLC0415
    from segment_tiles.pipeline.models.package import load_manifest  # noqa: PLC0415
    from segment_tiles.pipeline.models.registry import find_model  # noqa: PLC0415
    from segment_tiles.workflows.regions.loaded_model import LoadedPackage  # noqa: PLC0415

    started = perf_counter()
    folder = find_model(model)
    manifest = load_manifest(folder)
    target = resolve_device(device)
    stride = manifest.architecture.output_stride
    kept = choice_file([manifest.network_checksum], device_label(target))
    bench = _Bench(
        LoadedPackage(folder, manifest, load_rewritten(folder, manifest, trust=trust)),
        target,
        overlap_pixels(manifest.tile, manifest.overlap, stride),
        started + seconds,
        kept.read() or Choice(),
    )
    best = _larger_batches(bench, _larger_sides(bench, _fastest_pair(bench)))
    _keep(kept, best, bench)
    return {
        "model": manifest.name,
        "checksum": manifest.weights_checksum,
        "device": str(target),
        "device_name": device_label(target),
        "overlap_pixels": bench.overlap,
        "chosen": asdict(best),
        "measured": [asdict(measurement) for measurement in bench.done],
        "seconds": round(perf_counter() - started, 1),
        "kept_in": str(kept.path),
    }


def _keep(kept: ChoiceFile, best: Measurement, bench: _Bench) -> None:
    """Make what was found the Choice of the model; what runs measured on tiles of their scenes stands."""
    before = kept.read() or Choice()
    tuning = Tuning(best.batch, bench.overlap, _sides(bench.done, best))
    choice = replace(
        before.with_trials(bench.trials), pair=(best.backend, best.precision), tuning=tuning, made=""
    )
    kept.keep(choice)


def _sides(measured: list[Measurement], best: Measurement) -> dict[int, float]:
    """Return what a tile of every side takes in the chosen backend and precision, in its best batch."""
    sides: dict[int, float] = {}
    for found in measured:
        if not found.refused and (found.backend, found.precision) == (best.backend, best.precision):
            sides[found.tile] = min(found.seconds_per_tile, sides.get(found.tile, found.seconds_per_tile))
    return sides


def _fastest_pair(bench: _Bench) -> Measurement:
    """Measure every backend and precision at the model's own tile, one at a time."""
    from segment_tiles.pipeline.models.backends.known import BACKENDS, offered  # noqa: PLC0415
    from segment_tiles.pipeline.models.precision import compare, timed_scores  # noqa: PLC0415

    tile = bench.manifest.tile
    values = smooth_noise(bench.manifest, 1, tile)
    reference, seconds = timed_scores(_scorer(bench, "torch", "fp32", tile, 1), values, None)
    own = compare("fp32", reference, reference, None, seconds)
    bench.trials.append(own)
    best = _kept(bench, own, tile, 1)
    for name in offered(bench.device, bench.manifest):
        for precision in BACKENDS[name].precisions(bench.device):
            if (name, precision) == ("torch", "fp32"):
                continue
            found = _measured(bench, name, precision, tile, 1, reference)
            if found is not None and found.nanoseconds_per_pixel < WORTH_IT * best.nanoseconds_per_pixel:
                best = found
    return best


def _larger_sides(bench: _Bench, best: Measurement) -> Measurement:
    """Try larger tiles, if a pixel does not depend on the whole tile."""
    architecture, start = bench.manifest.architecture, best
    if architecture.image_pooling == "global":
        return best
    for factor in SIDES:
        stride = architecture.output_stride
        side = round(bench.manifest.tile * factor / stride) * stride
        if not bench.has_time(6 * factor**2 * start.seconds_per_tile):
            break
        found = _measured(bench, best.backend, best.precision, side, 1, None, start.agreement)
        if found is None:
            break
        if found.nanoseconds_per_pixel < WORTH_IT * best.nanoseconds_per_pixel:
            best = found
    return best


def _larger_batches(bench: _Bench, best: Measurement) -> Measurement:
    """Double the batch while that gains."""
    batch = best.batch * 2
    while batch <= LARGEST_BATCH[bench.device.type] and bench.has_time(6 * batch * best.seconds_per_tile):
        found = _measured(bench, best.backend, best.precision, best.tile, batch, None, best.agreement)
        if found is None or found.nanoseconds_per_pixel >= WORTH_IT * best.nanoseconds_per_pixel:
            break
        best, batch = found, batch * 2
    return best


def _measured(
    bench: _Bench,
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
        scorer = _scorer(bench, backend, precision, tile, batch)
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
    return _kept(bench, trial, tile, batch)


def _kept(bench: _Bench, trial: PrecisionTrial, tile: int, batch: int) -> Measurement:
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


def _refuse(bench: _Bench, backend: str, precision: str, tile: int, batch: int, reason: str) -> None:
    bench.done.append(Measurement(backend, precision, tile, batch, 0.0, 0.0, 0.0, reason))


def _scorer(bench: _Bench, backend: str, precision: str, tile: int, batch: int) -> Any:
    from segment_tiles.pipeline.models.segmenter import Segmenter  # noqa: PLC0415

    package = bench.package
    return Segmenter(
        package.network, package.manifest, bench.device, precision,
        backend=backend, batch=batch, tile=tile, folder=package.folder,
    )  # fmt: skip


def _is_converted(bench: _Bench, backend: str, precision: str, tile: int, batch: int) -> bool:
    from segment_tiles.pipeline.models.backends.known import BACKENDS  # noqa: PLC0415
    from segment_tiles.pipeline.models.backends.protocol import Preparation  # noqa: PLC0415

    manifest = bench.manifest
    shape = (batch, len(manifest.bands), tile, tile)
    folder: Path = bench.package.folder
    preparation = Preparation(shape, bench.device, precision, manifest.network_checksum, folder)
    return BACKENDS[backend].is_prepared(preparation)
