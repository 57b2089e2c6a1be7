"""Tune: which backend, precision, side and batch run a model fastest on this machine, per useful pixel.

A tile of side T with an overlap of V pixels gives (T - V) x (T - V) pixels that no other tile gives. With the
same V, larger tiles waste less; how much they cost is measured, because caches and kernels decide.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from time import perf_counter
from typing import Any

from segment_tiles.pipeline.models.calibration.calibrated import INT8
from segment_tiles.pipeline.models.calibration.kept import kept_calibrations
from segment_tiles.workflows.options.tuning import TuneConfig
from segment_tiles.workflows.plans.compute.kept_choice import Choice, ChoiceFile, Tuning, choice_file
from segment_tiles.workflows.plans.compute.smooth_noise import smooth_noise
from segment_tiles.workflows.plans.compute.tune_bench import (
    Measurement,
    TuneBench,
    keep_measured,
    measured_way,
    scorer_for,
)
from segment_tiles.workflows.plans.compute.tune_calibration import calibrated_and_judged

SIDES = (1.5, 2.0, 3.0)
"""Sides that are tried, in sides of the model's own tile."""
LARGEST_BATCH = {"cpu": 4, "cuda": 64}
"""Batches are doubled up to this many tiles."""
WORTH_IT = 0.97
"""Share of the cost of what is known below which something else is taken: timings scatter."""


def tune(asked: TuneConfig, *, device: str = "auto", **of_run: Any) -> dict[str, Any]:
    """Measure a model, keep the fastest way, and return all that was measured as plain JSON values.

    Parameters
    ----------
    asked
        Model, scenes to calibrate it on, and the time after which nothing further is begun: backends whose conversion
        does not fit are left out, and what a calibration takes does not count.
    device
        auto, cpu, cuda or cuda:N.
    of_run
        How scenes are read, and ``trust``: whether a graph that may execute code is loaded; as `RunConfig` has them.

    Raises
    ------
    SegmentTilesError
        If the model cannot be loaded or calibrated, or the device is not there.
    """
    from segment_tiles.pipeline.models.devices import device_label, resolve_device  # noqa: PLC0415
    from segment_tiles.pipeline.models.inference_network import load_rewritten  # noqa: PLC0415
    from segment_tiles.pipeline.models.package import load_manifest  # noqa: PLC0415
    from segment_tiles.pipeline.models.registry import find_model  # noqa: PLC0415
    from segment_tiles.workflows.regions.loaded_model import LoadedPackage  # noqa: PLC0415

    folder = find_model(asked.model)
    manifest = load_manifest(folder).without_scene()
    target = resolve_device(device)
    kept = choice_file([manifest.network_checksum], device_label(target))
    before, calibrations = kept.read() or Choice(), kept_calibrations([manifest], manifest.tile)
    if asked.calibrate:
        calibrations, before = calibrated_and_judged(asked, target, before, of_run)
    started = perf_counter()
    bench = TuneBench(
        LoadedPackage(folder, manifest, load_rewritten(folder, manifest, trust=bool(of_run.get("trust")))),
        target,
        manifest.overlap_of(manifest.tile),
        started + asked.seconds,
        before.of(calibrations.name),
        calibrations,
    )
    fastest = _fastest_pair(bench)
    # a calibrated network is of one side
    best = _larger_batches(bench, fastest if fastest.precision == INT8 else _larger_sides(bench, fastest))
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


def _keep(kept: ChoiceFile, best: Measurement, bench: TuneBench) -> None:
    """Make what was found the Choice of the model; what runs measured on tiles of their scenes stands."""
    before = (kept.read() or Choice()).with_trials(bench.before.trials)
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


def _fastest_pair(bench: TuneBench) -> Measurement:
    """Measure every backend and precision at the model's own tile, one at a time."""
    from segment_tiles.pipeline.models.backends.known import BACKENDS, offered  # noqa: PLC0415
    from segment_tiles.pipeline.models.precision import compare, timed_scores  # noqa: PLC0415

    tile = bench.manifest.tile
    values = smooth_noise(bench.manifest, 1, tile)
    reference, seconds = timed_scores(scorer_for(bench, "torch", "fp32", tile, 1), values, None)
    own = compare("fp32", reference, reference, None, seconds)
    bench.trials.append(own)
    best = keep_measured(bench, own, tile, 1)
    for name in offered(bench.device, bench.manifest):
        for precision in BACKENDS[name].precisions(bench.device):
            if (name, precision) == ("torch", "fp32") or (precision == INT8 and not bench.calibrations):
                continue
            found = measured_way(bench, name, precision, tile, 1, reference)
            if found is not None and found.nanoseconds_per_pixel < WORTH_IT * best.nanoseconds_per_pixel:
                best = found
    return best


def _larger_sides(bench: TuneBench, best: Measurement) -> Measurement:
    """Try larger tiles, if a pixel does not depend on the whole tile."""
    architecture, start = bench.manifest.architecture, best
    if architecture.image_pooling == "global" or bench.manifest.output.fixed_side:
        return best
    for factor in SIDES:
        stride = architecture.output_stride
        side = round(bench.manifest.tile * factor / stride) * stride
        if not bench.has_time(6 * factor**2 * start.seconds_per_tile):
            break
        found = measured_way(bench, best.backend, best.precision, side, 1, None, start.agreement)
        if found is None:
            break
        if found.nanoseconds_per_pixel < WORTH_IT * best.nanoseconds_per_pixel:
            best = found
    return best


def _larger_batches(bench: TuneBench, best: Measurement) -> Measurement:
    """Double the batch while that gains."""
    batch = best.batch * 2
    while batch <= LARGEST_BATCH[bench.device.type] and bench.has_time(6 * batch * best.seconds_per_tile):
        found = measured_way(bench, best.backend, best.precision, best.tile, batch, None, best.agreement)
        if found is None or found.nanoseconds_per_pixel >= WORTH_IT * best.nanoseconds_per_pixel:
            break
        best, batch = found, batch * 2
    return best
