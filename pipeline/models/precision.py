"""The precision of a run: the fastest one whose class map agrees with float32 on real tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.devices import synchronize
from segment_tiles.pipeline.models.segmenter import PRECISIONS, Segmenter

REQUIRED_AGREEMENT = 0.995
"""Share of probe pixels whose class must be that of float32."""
TIMED_PASSES_AT_MOST = 3
"""Timed forward passes of each candidate, after one that warms up; the fastest counts."""
TIMED_SECONDS = 0.5
"""Time after which no further pass is timed: on a slow machine one says enough."""


@dataclass(frozen=True, slots=True)
class PrecisionTrial:
    """What the probe measured of one precision."""

    precision: str
    """fp32, bf16 or fp16."""
    agreement: float
    """Share of valid probe pixels with the class that float32 gives, 0 to 1."""
    largest_difference: float
    """Largest difference of a probability from float32."""
    seconds: float
    """Of one batch."""


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """The precision of a run and why."""

    precision: str
    """fp32, bf16 or fp16."""
    trials: tuple[PrecisionTrial, ...] = ()
    """All that were measured; empty where the user named the precision."""


def candidates(device: torch.device) -> tuple[str, ...]:
    """Return the precisions that can be faster than float32 on a device, float32 first.

    float16 has no fast path on CPUs.
    """
    return ("fp32", "bf16") if device.type == "cpu" else ("fp32", "bf16", "fp16")


def parse_precision(value: str) -> str:
    """Return a known precision or ``auto``.

    Raises
    ------
    UsageError
        Where the word is not known.
    """
    if value != "auto" and value not in PRECISIONS:
        msg = f"--precision is {value!r}; it must be one of auto, {', '.join(PRECISIONS)}"
        raise UsageError(msg)
    return value


def choose_precision(
    make: Callable[[str], Segmenter], values: Tensor, valid: Tensor | None, device: torch.device
) -> PrecisionChoice:
    """Measure every candidate on one batch of real tiles and choose.

    Parameters
    ----------
    make
        Gives the Segmenter of a precision.
    values, valid
        A probe batch as ``Segmenter.scores`` takes it; only valid pixels are compared.
    device
        Where it runs.
    """
    trials: list[PrecisionTrial] = []
    reference: Tensor | None = None
    for precision in candidates(device):
        segmenter = make(precision)
        scores, seconds = timed_scores(segmenter, values, valid)
        reference = scores if reference is None else reference
        trials.append(_compare(precision, scores, reference, valid, seconds))
    agreeing = [t for t in trials if t.agreement >= REQUIRED_AGREEMENT]
    fastest = min(agreeing, key=lambda trial: trial.seconds)
    return PrecisionChoice(fastest.precision, tuple(trials))


def timed_scores(segmenter: Segmenter, values: Tensor, valid: Tensor | None) -> tuple[Tensor, float]:
    """Return the scores of a batch and the seconds of the fastest of some passes, warm."""
    scores = segmenter.scores(values, valid)
    synchronize(segmenter.device)
    seconds: list[float] = []
    while len(seconds) < TIMED_PASSES_AT_MOST and sum(seconds) < TIMED_SECONDS:
        started = perf_counter()
        segmenter.scores(values, valid)
        synchronize(segmenter.device)
        seconds.append(perf_counter() - started)
    return scores, min(seconds)


def _compare(
    precision: str, scores: Tensor, reference: Tensor, valid: Tensor | None, seconds: float
) -> PrecisionTrial:
    same = scores.argmax(1) == reference.argmax(1)
    difference = (scores - reference).abs().amax(1)
    if valid is not None:
        keep = valid.to(same.device)
        same, difference = same[keep], difference[keep]
    if same.numel() == 0:
        return PrecisionTrial(precision, 1.0, 0.0, seconds)
    return PrecisionTrial(precision, float(same.float().mean()), float(difference.max()), seconds)
