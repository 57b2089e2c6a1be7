"""Backend and precision of a run: as the user said, or the fastest pair that changes next to no decided pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from segment_tiles.pipeline.errors import MissingExtraError, ModelError, UsageError
from segment_tiles.pipeline.models.calibration.calibrated import INT8
from segment_tiles.pipeline.models.calibration.kept import NOT_CALIBRATED, Calibrations
from segment_tiles.pipeline.models.trials import PrecisionTrial, disagreement, fastest_accepted
from segment_tiles.workflows.plans.compute.kept_choice import Choice

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from segment_tiles.pipeline.models.packages.manifest import ModelManifest
    from segment_tiles.pipeline.models.precision import Sample, Scorer
    from segment_tiles.pipeline.outputs.stores.sent_folder import SentFolder

Pair = tuple[str, str]
"""Backend and precision."""
FLOAT32: Final[Pair] = ("torch", "fp32")
"""By which all others are judged."""
INT8_NEEDS: Final = (
    "--precision int8: not to be had for this model on {device}; it needs a processor, a model that brings no graph of "
    "its own, and OpenVINO with NNCF: pip install 'segment-tiles[int8]'"
)
QUICKLY_CONVERTED: Final = 10.0
"""Seconds of conversion up to which ``auto`` tries a backend; `tune` tries all of them."""


@dataclass(frozen=True, slots=True)
class ComputeOptions:
    """What the user said of how to compute; auto and None leave it to the Choice."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: str = "auto"
    """auto, fp32, bf16, fp16 or int8."""
    batch: int | None = None
    """Tiles of a forward pass."""
    trust: bool = False
    """Whether a graph that may execute code is loaded."""
    backend: str = "auto"
    """auto, torch, compile, openvino or onnx."""
    augmentation: str = "none"
    """none, flips or rotations."""
    calibrations: Calibrations = NOT_CALIBRATED
    """The calibrated networks of the models: without them `auto` does not take int8, though it is the Choice."""
    own_folder: Path | SentFolder | None = field(default=None, compare=False)
    """Where the run keeps its books, and copies of these."""
    is_settled: bool = False
    """Whether an earlier start of the run decided: then nothing is measured, and nothing said again."""
    is_of_mask: bool = field(default=False, compare=False)
    """Whether it is the model of a mask, which stays loaded beside that of the map."""

    @property
    def leaves_all_open(self) -> bool:
        """Whether the user names neither backend nor precision."""
        return self.backend == "auto" and self.precision == "auto"


@dataclass(frozen=True, slots=True)
class Decision:
    """Backend and precision of a run, and why."""

    pair: Pair
    """What computes."""
    trials: tuple[PrecisionTrial, ...] = ()
    """What it was chosen among."""
    warning: str | None = None
    """What the user should know of a pair of their own."""

    @property
    def measured(self) -> tuple[dict[str, Any], ...]:
        """The trials as plain JSON values."""
        return tuple(asdict(trial) for trial in self.trials)


@dataclass(frozen=True, slots=True)
class Bench:
    """Real tiles, and how scorers for them are made."""

    make: Callable[[str, str], Scorer]
    """Gives the scorer of a backend and a precision."""
    sample: Sample
    """The tiles."""
    batch: int
    """Tiles of a forward pass."""


def pairs_in_question(
    options: ComputeOptions, device: torch.device, manifests: Sequence[ModelManifest]
) -> list[Pair]:
    """Return the pairs that the options leave open.

    Raises
    ------
    MissingExtraError
        If the named backend is not installed.
    UsageError
        If the backend does not compute in the named precision, or cannot run such a model.
    """
    from segment_tiles.pipeline.models.backends.known import BACKENDS, offered, require_backend  # noqa: PLC0415

    if options.backend == "auto":
        first, *others = (offered(device, manifest) for manifest in manifests)
        names = [
            name
            for name in first
            if BACKENDS[name].conversion_seconds <= QUICKLY_CONVERTED
            and all(name in other for other in others)
        ]
    else:
        for manifest in manifests:
            require_backend(options.backend, device, manifest)
        names = [options.backend]
    offered_here = [(name, precision) for name in names for precision in BACKENDS[name].precisions(device)]
    if options.precision == "auto":
        # only `tune --calibrate` makes it part of a Choice: what was calibrated on one scene says little of others
        return [pair for pair in offered_here if pair[1] != INT8]
    # torch takes every type that is named, whether it is fast here or not
    pairs = [
        (name, options.precision)
        for name in names
        if (name == "torch" and options.precision != INT8) or (name, options.precision) in offered_here
    ]
    if not pairs and options.backend == "auto":
        raise MissingExtraError(INT8_NEEDS.format(device=device))
    if not pairs:
        msg = (
            f"--backend {options.backend} does not compute in --precision {options.precision} on {device}; "
            f"it offers {', '.join(BACKENDS[options.backend].precisions(device))}"
        )
        raise UsageError(msg)
    return pairs


def decision_of(options: ComputeOptions, choice: Choice, pairs: Callable[[], list[Pair]]) -> Decision | None:
    """Return what is decided without measuring anything; None if something has to be measured.

    Parameters
    ----------
    options
        What the user said.
    choice
        What was measured before.
    pairs
        Gives `pairs_in_question`; not asked if that is not needed.

    Raises
    ------
    ModelError
        If the named backend cannot run the model.
    """
    choice, named = choice.of(options.calibrations.name), (options.backend, options.precision)
    if options.is_settled or named == FLOAT32:
        return Decision(named)
    if options.leaves_all_open:
        return None if choice.pair is None else Decision(_available(choice, options), choice.trials)
    wanted = [named] if "auto" not in named else pairs()
    trials = [trial for trial in map(choice.trial, wanted) if trial is not None]
    return _named(options, tuple(trials)) if len(trials) == len(wanted) else None


def _available(choice: Choice, options: ComputeOptions) -> Pair:
    """Return the pair that was chosen; if it is int8, and a tile has another side, the fastest of the others."""
    assert choice.pair is not None
    if choice.pair[1] != INT8 or (options.calibrations and choice.trial(choice.pair) is not None):
        return choice.pair
    fastest = fastest_accepted([trial for trial in choice.trials if trial.precision != INT8])
    return FLOAT32 if fastest is None else fastest.pair


def _named(options: ComputeOptions, trials: tuple[PrecisionTrial, ...]) -> Decision:
    """Return the fastest accepted trial; what the user names is taken even so, with a warning."""
    fastest = fastest_accepted(trials)
    if fastest is not None:
        return Decision(fastest.pair, trials)
    able = [trial for trial in trials if not trial.refused]
    if not able:
        raise ModelError(trials[0].refused)
    best = max(able, key=lambda trial: (trial.decided_agreement, trial.backend == "torch"))
    return Decision(best.pair, trials, disagreement(best))


def measured_choice(options: ComputeOptions, choice: Choice, pairs: list[Pair], bench: Bench) -> Choice:
    """Return the Choice with what was missing of it, measured.

    Parameters
    ----------
    options
        What the user said.
    choice
        What was measured before.
    pairs
        Those in question.
    bench
        Where they are measured.
    """
    from segment_tiles.pipeline.models.precision import compare, scores_of, timed_scores, try_backends  # noqa: PLC0415

    here = choice.of(options.calibrations.name)
    missing = [pair for pair in pairs if here.trial(pair) is None]
    if missing:
        float32 = bench.make(*FLOAT32)
        reference: Tensor = scores_of(float32, bench.sample, bench.batch)
        own: tuple[PrecisionTrial, ...] = ()
        if FLOAT32 in missing:
            _, seconds = timed_scores(float32, *bench.sample.batch(0, bench.batch))
            own = (compare("fp32", reference, reference, bench.sample.valid, seconds),)
        others = [pair for pair in missing if pair != FLOAT32]
        found = try_backends(bench.make, others, reference, bench.sample, bench.batch)
        name = options.calibrations.name
        named = [replace(trial, calibration=name if trial.precision == INT8 else "") for trial in found]
        choice = choice.with_trials((*own, *named))
    if not options.leaves_all_open:
        return choice
    among = [trial for trial in choice.of(options.calibrations.name).trials if trial.pair in pairs]
    fastest = fastest_accepted(among)
    return replace(choice, pair=FLOAT32 if fastest is None else fastest.pair)
