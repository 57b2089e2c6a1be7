"""Backend and precision of a run: as the user said, or the fastest pair that pays for its conversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from segment_tiles.pipeline.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from segment_tiles.pipeline.models.packages.manifest import ModelManifest
    from segment_tiles.pipeline.models.precision import PrecisionTrial, Scorer

WORTH_CONVERTING = 10.0
"""How many times its conversion a run in torch must take before ``auto`` converts: decision 0060."""
SECONDS_TO_LOAD = 2.0
"""What a backend whose conversion is on disk adds to a start, at most."""


@dataclass(frozen=True, slots=True)
class ComputeChoice:
    """What the user said of how to compute; auto and None leave it to the probe."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: str = "auto"
    """auto, fp32, bf16 or fp16."""
    batch: int | None = None
    """Tiles of a forward pass."""
    trust: bool = False
    """Whether a graph that may execute code is loaded."""
    backend: str = "auto"
    """auto, torch, compile, openvino or onnx."""
    augmentation: str = "none"
    """none, flips or rotations."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What was chosen, and what was measured for it."""

    backend: str
    precision: str
    trials: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """One batch of real tiles, and how scorers for it are made."""

    make: Callable[[str, str], Scorer]
    """Gives the scorer of a backend and a precision."""
    values: Tensor
    """(batch, bands, T, T)."""
    valid: Tensor | None
    """(batch, T, T)."""
    device: torch.device
    manifests: tuple[ModelManifest, ...]
    tiles: int
    """Of the run."""
    is_converted: Callable[[str, str], bool] = field(default=lambda backend, precision: False)
    """Whether an earlier start left a conversion for a backend and a precision."""
    may_convert: bool = True
    """Whether ``auto`` may convert; a Plan only looks at what is there."""


def choose_pair(choice: ComputeChoice, trial: Trial) -> Pair:
    """Return backend and precision; whatever the user left open is measured.

    Raises
    ------
    MissingExtraError
        If the named backend is not installed.
    ModelError
        If the named backend cannot run the model, or gives another class map than float32.
    UsageError
        If the backend does not compute in the named precision.
    """
    from segment_tiles.pipeline.models.precision import fastest_agreeing, try_backends  # noqa: PLC0415

    named = choice.backend
    if named == "torch" and choice.precision != "auto":
        return Pair("torch", choice.precision)
    if named not in {"auto", "torch"}:
        return _named_pair(choice, trial)
    reference, trials = _torch_trials(choice, trial)
    if named == "auto":
        fastest = fastest_agreeing(trials) or trials[0]
        pairs = _worth_trying(choice, trial, trial.tiles * fastest.seconds / len(trial.values))
        trials = (*trials, *try_backends(trial.make, pairs, reference, trial.values, trial.valid))
    # a precision that the user names is taken in torch as it is: agreement decides among what we choose
    return _pair(fastest_agreeing(trials) or trials[0], trials)


def _named_pair(choice: ComputeChoice, trial: Trial) -> Pair:
    """Return the fastest agreeing precision of a backend that the user named."""
    from segment_tiles.pipeline.models.backends.known import require_backend  # noqa: PLC0415
    from segment_tiles.pipeline.models.precision import require_agreement, try_backends  # noqa: PLC0415

    backends = [require_backend(choice.backend, trial.device, manifest) for manifest in trial.manifests]
    precisions = backends[0].precisions(trial.device)
    if choice.precision != "auto" and choice.precision not in precisions:
        msg = (
            f"--backend {choice.backend} does not compute in --precision {choice.precision} on {trial.device}; "
            f"it offers {', '.join(precisions)}"
        )
        raise UsageError(msg)
    wanted = precisions if choice.precision == "auto" else (choice.precision,)
    reference = trial.make("torch", "fp32").scores(trial.values, trial.valid)
    pairs = [(choice.backend, precision) for precision in wanted]
    trials = try_backends(trial.make, pairs, reference, trial.values, trial.valid)
    return _pair(require_agreement(trials), trials)


def _torch_trials(choice: ComputeChoice, trial: Trial) -> tuple[Tensor, tuple[PrecisionTrial, ...]]:
    """Return float32's scores, and the trials of the precisions in question."""
    from segment_tiles.pipeline.models.precision import candidates, compare, timed_scores, try_backends  # noqa: PLC0415

    wanted = candidates(trial.device) if choice.precision == "auto" else (choice.precision,)
    reference, seconds = timed_scores(trial.make("torch", "fp32"), trial.values, trial.valid)
    own = compare("fp32", reference, reference, trial.valid, seconds)
    pairs = [("torch", precision) for precision in wanted if precision != "fp32"]
    others = try_backends(trial.make, pairs, reference, trial.values, trial.valid)
    return reference, ((own,) if "fp32" in wanted else ()) + others


def _worth_trying(choice: ComputeChoice, trial: Trial, seconds: float) -> list[tuple[str, str]]:
    """Return the pairs whose preparation is small beside a run of so many seconds in torch."""
    from segment_tiles.pipeline.models.backends.known import BACKENDS, offered  # noqa: PLC0415

    pairs: list[tuple[str, str]] = []
    first, *others = (offered(trial.device, manifest) for manifest in trial.manifests)
    names = [name for name in first if all(name in other for other in others)]
    if seconds < WORTH_CONVERTING * SECONDS_TO_LOAD:
        return pairs
    for name in names:
        if name == "torch":
            continue
        for precision in BACKENDS[name].precisions(trial.device):
            if choice.precision not in {"auto", precision}:
                continue
            worth = trial.may_convert and seconds >= WORTH_CONVERTING * BACKENDS[name].conversion_seconds
            if worth or trial.is_converted(name, precision):
                pairs.append((name, precision))
    return pairs


def _pair(chosen: PrecisionTrial, trials: tuple[PrecisionTrial, ...]) -> Pair:
    return Pair(chosen.backend, chosen.precision, tuple(asdict(trial) for trial in trials))
