"""How a run computes: the Choice of precision and backend, made once, and the Probe of what it takes.

Both are kept in the user's cache folder, so that neither ``plan`` nor the second run measures anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from segment_tiles.pipeline.models.backends.int8 import require_nncf
from segment_tiles.pipeline.models.calibration.calibrated import INT8, Calibrated
from segment_tiles.pipeline.models.calibration.kept import (
    FEW_TILES,
    Calibrations,
    calibrated_for,
    kept_calibrations,
)
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.plans.compute.calibrate import calibrated, calibrating_at_most
from segment_tiles.workflows.plans.compute.compute_choice import (
    FLOAT32,
    ComputeOptions,
    Decision,
    decision_of,
    measured_choice,
    pairs_in_question,
)
from segment_tiles.workflows.plans.compute.kept_choice import Choice, ChoiceFile, choice_file, label_of
from segment_tiles.workflows.plans.compute.kept_probe import Probe, kept_probe, probe_file, remember
from segment_tiles.workflows.plans.compute.model_bench import ModelBench
from segment_tiles.workflows.plans.compute.sample_tiles import CALIBRATED, JUDGED, Positions
from segment_tiles.workflows.process_memory import peak_since_reset, reset_peak, resident_bytes
from segment_tiles.workflows.scenes.scene import Scene

if TYPE_CHECKING:
    from segment_tiles.pipeline.models.precision import Sample
    from segment_tiles.pipeline.outputs.stores.sent_folder import SentFolder


NOT_CALIBRATED_YET: Final = "not calibrated for int8 yet, the first run does it; the time is that of float32"
"""The same of a precision that needs a calibrated network."""
CALIBRATED_ON_FEW: Final = (
    "--precision int8: the model was calibrated on {tiles} alone, which says little of other scenes, and is kept so; "
    "calibrate it on larger ones: segment-tiles tune MODEL --calibrate SCENE"
)
NOT_YET: Final = "not chosen yet, the first run measures"
"""Where a Plan's backend and precision come from if there is no Choice."""


def compute_options(
    config: RunConfig,
    recorded: Mapping[str, Any] | None = None,
    own_folder: Path | SentFolder | None = None,
) -> ComputeOptions:
    """Return how a run is to compute; one that goes on keeps what its record says was chosen."""
    if recorded is None:
        return ComputeOptions(
            config.device, config.precision, config.batch, config.trust, config.backend, config.augmentation,
            is_of_mask=config.lies_on is not None,
        )  # fmt: skip
    return ComputeOptions(
        config.device,
        recorded["precision"],
        recorded["batch"],
        config.trust,
        recorded.get("backend", "torch"),
        config.augmentation,
        Calibrations(tuple(recorded.get("calibrations", ()))),
        own_folder,
        is_settled=True,
        is_of_mask=config.lies_on is not None,
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """What `measure` gives back."""

    probe: Probe
    """Of the way to compute that was chosen."""
    choice: Choice
    """Backend and precision come from it; later scenes take it as `known`."""
    notes: tuple[str, ...] = ()
    """What the user should know."""
    calibrated: tuple[Calibrated, ...] = ()
    """Of a new run in int8: its calibrated networks, of which it keeps copies."""


def must_measure(scene: Scene, options: ComputeOptions) -> bool:
    """Return whether nothing of a Choice is kept here, so that a run in this process begins with measuring.

    Raises
    ------
    UsageError
        If the device is not there.
    """
    choice = kept_with(scene, label_of(options.device)).read()
    if must_calibrate(scene, options):
        return True
    return choice is None and not options.is_settled and (options.backend, options.precision) != FLOAT32


def must_calibrate(scene: Scene, options: ComputeOptions) -> bool:
    """Return whether a run in this process begins with calibrating for int8."""
    return options.precision == INT8 and not options.is_settled and not _kept_calibrations(scene)


def planned_probe(scene: Scene, options: ComputeOptions) -> Probe:
    """Return the Probe that a run would have, or, if its Choice is not made yet, that of torch.

    The model is loaded only if this way to compute was never measured here.

    Raises
    ------
    SegmentTilesError
        If the device is not there, or the backend cannot be used.
    """
    label = label_of(options.device)
    choice = kept_with(scene, label).read() or Choice()
    options = _with_calibrations(options, scene)
    decision = decision_of(options, choice, lambda: _pairs(scene, options))
    chosen = NOT_YET if decision is None else _origin(options, choice)
    calibrating = 0
    if decision is None and options.precision == INT8 and not options.calibrations:
        _pairs(scene, options)  # refuses what a run would refuse
        require_nncf()
        options, chosen = replace(options, precision="auto"), NOT_CALIBRATED_YET
        calibrating = calibrating_at_most(scene)
    decision = decision or Decision(_pairs(scene, options)[0])  # torch, if that is left open
    batch = options.batch or (choice.batches or {}).get(scene.lattice.tile, 1)
    path = probe_file(scene, options, decision.pair, batch, label)
    probe = kept_probe(path)
    if probe is None:
        from segment_tiles.pipeline.models.devices import resolve_device  # noqa: PLC0415 - brings torch

        bench = ModelBench(scene, options, resolve_device(options.device), lambda: None)
        probe = bench.probe(decision, batch, None)
        remember(path, probe)
    return replace(probe, trials=decision.measured, chosen=chosen, calibrating_bytes=calibrating)


def measure(
    scene: Scene,
    options: ComputeOptions,
    sample_of: Callable[[Positions], Sample | None],
    *,
    known: Choice | None = None,
) -> Measured:
    """Choose what was not chosen before, and measure what one batch takes, if that is not known.

    Parameters
    ----------
    scene
        Source and model.
    options
        The user's.
    sample_of
        Gives real tiles, or None: then noise is measured. Not asked if nothing has to be measured or calibrated.
    known
        A Choice that counts whatever is kept here: that of an earlier scene of the same batch.

    Raises
    ------
    UsageError, MissingExtraError, ModelError
        If the device is not there, an option is unknown, or the backend that was named cannot run the model; if it
        cannot be calibrated for int8.
    """
    from segment_tiles.pipeline.models.devices import device_label, resolve_device  # noqa: PLC0415

    device = resolve_device(options.device)
    label = device_label(device)
    kept = kept_with(scene, label)
    before = known or kept.read()
    options = _with_calibrations(options, scene)
    bench = ModelBench(scene, options, device, lambda: sample_of(JUDGED))
    calibrating = 0
    if options.precision == INT8 and not options.calibrations:
        bench.pairs()  # refuses a device or a model that has no int8
        reset_peak()
        program = resident_bytes()
        made = calibrated(
            [manifest for _, manifest in scene.members], scene.lattice.tile, lambda: bench.packages,
            lambda: sample_of(CALIBRATED), [shown_name(scene.uri)],
        )  # fmt: skip
        calibrating = max(0, peak_since_reset() - program)
        options = bench.options = replace(options, calibrations=made)
    decision, batch, choice = _decided(options, before or Choice(), bench)
    notes = [] if decision.warning is None else [decision.warning]
    if decision.pair[1] == INT8 and 0 < options.calibrations.tiles < FEW_TILES:
        notes.append(CALIBRATED_ON_FEW.format(tiles=counted(options.calibrations.tiles, "tile")))
    if choice != before:
        replaced = kept.replaced() if before is None and options.leaves_all_open else None
        if replaced is not None:
            notes.append(_measured_again(scene, replaced, decision))
        if bench.has_real_tiles and not any(trial.may_pass for trial in choice.trials):
            choice = kept.keep(choice)
            decision = decision_of(options, choice, bench.pairs) or decision
    path = probe_file(scene, options, decision.pair, batch, label)
    earlier = kept_probe(path)
    probe = bench.probe(decision, batch, earlier)
    # what was tried for a Choice leaves memory behind that no later start has
    if choice == before and probe != earlier:
        remember(path, probe)
    chosen = _origin(options, choice if choice == before else Choice())
    networks = () if options.is_settled else _networks(scene, probe)
    probe = replace(probe, trials=decision.measured, chosen=chosen, calibrating_bytes=calibrating)
    return Measured(probe, choice, tuple(notes), networks)


def _networks(scene: Scene, probe: Probe) -> tuple[Calibrated, ...]:
    """Return the calibrated networks that a Probe names."""
    return tuple(
        calibrated_for(manifest, scene.lattice.tile, checksum, None)
        for (_, manifest), checksum in zip(scene.members, probe.calibrations, strict=False)
    )


def _with_calibrations(options: ComputeOptions, scene: Scene) -> ComputeOptions:
    """Return the options with the calibrated networks that are kept; of a run that goes on with its own."""
    if options.is_settled or options.precision not in {"auto", INT8}:
        return options
    return replace(options, calibrations=_kept_calibrations(scene))


def _decided(options: ComputeOptions, choice: Choice, bench: ModelBench) -> tuple[Decision, int, Choice]:
    """Return backend and precision, tiles of a forward pass, and the Choice with what was measured for them."""
    batch, choice = bench.batch(choice)
    decision = decision_of(options, choice, bench.pairs)
    if decision is None:
        pairs = bench.pairs()
        choice = measured_choice(options, choice, pairs, bench.of(batch))
        decision = decision_of(options, choice, lambda: pairs)
        assert decision is not None, "all pairs were measured"
    return decision, batch, choice


def _measured_again(scene: Scene, replaced: str, decision: Decision) -> str:
    backend, precision = decision.pair
    return (
        f"{scene.manifest.name}: precision and backend had been chosen with {replaced}, and were chosen again: "
        f"{precision} by {backend}. Earlier results may differ from these in single pixels; if `tune` was used, use it "
        "again"
    )


def _kept_calibrations(scene: Scene) -> Calibrations:
    return kept_calibrations([manifest for _, manifest in scene.members], scene.lattice.tile)


def kept_with(scene: Scene, label: str) -> ChoiceFile:
    """Return where the Choice for the models of a scene, and how they scale, is kept."""
    return choice_file([manifest.calibration_checksum for _, manifest in scene.members], label)


def _pairs(scene: Scene, options: ComputeOptions) -> list[tuple[str, str]]:
    from segment_tiles.pipeline.models.devices import resolve_device  # noqa: PLC0415

    return pairs_in_question(
        options, resolve_device(options.device), [manifest for _, manifest in scene.members]
    )


def _origin(options: ComputeOptions, choice: Choice) -> str:
    """Return where backend and precision come from, as `run` and `plan` say it."""
    if options.is_settled:
        return "as this run was begun"
    if options.precision == INT8 and options.calibrations:
        return f"as named, calibrated on {options.calibrations.made}"
    if "auto" not in (options.backend, options.precision):
        return "as named"
    return f"chosen on {choice.made}" if choice.made else "measured now"
