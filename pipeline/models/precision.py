"""Precision and backend of a run: the fastest pair whose class map agrees with float32 on real tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor

from segment_tiles.pipeline.errors import ModelError, WriteFailedError
from segment_tiles.pipeline.models.backends.torch_eager import TorchEager
from segment_tiles.pipeline.models.backends.torch_threads import torch_threads
from segment_tiles.pipeline.models.devices import synchronize

REQUIRED_AGREEMENT = 0.995
"""Share of probe pixels whose class must be that of float32."""
TIMED_PASSES_AT_MOST = 3
"""Timed forward passes of each candidate, after one that warms up; the fastest counts."""
TIMED_SECONDS = 0.5
"""Time after which no further pass is timed: on a slow machine one says enough."""


class Scorer(Protocol):
    """What is measured: a Segmenter, or several as one."""

    device: torch.device
    """Where scores are computed."""
    backend: str
    """What runs the network."""

    batches_at_once: int
    """Batches that keep the device busy."""

    def scores(self, values: Tensor, valid: Tensor | None) -> Tensor:
        """Return probabilities (batch, classes, T, T), float32, of raw values (batch, bands, T, T)."""
        ...


@dataclass(frozen=True, slots=True)
class PrecisionTrial:
    """What the probe measured of one precision of one backend."""

    precision: str
    """fp32, bf16 or fp16."""
    agreement: float
    """Share of valid probe pixels with the class that float32 gives, 0 to 1."""
    largest_difference: float
    """Largest difference of a probability from float32."""
    seconds: float
    """Of one batch."""
    backend: str = "torch"
    """What ran the network."""
    refused: str = ""
    """Why it was not measured; agreement, difference and seconds then say nothing."""


def candidates(device: torch.device) -> tuple[str, ...]:
    """Return the precisions that can be faster than float32 on a device, float32 first.

    float16 has no fast path on CPUs.
    """
    return TorchEager().precisions(device)


def timed_scores(segmenter: Scorer, values: Tensor, valid: Tensor | None) -> tuple[Tensor, float]:
    """Return the scores of a batch and the seconds that it takes, of the fastest of some passes, warm.

    A pass has as many batches as keep the device busy, as a run has them.
    """
    seconds: list[float] = []
    at_once = segmenter.batches_at_once
    with torch_threads(segmenter.backend, at_once), ThreadPoolExecutor(at_once) as pool:

        def one_pass() -> Tensor:
            if at_once == 1:
                scores = segmenter.scores(values, valid)
            else:
                scores, *_ = pool.map(lambda _: segmenter.scores(values, valid), range(at_once))
            synchronize(segmenter.device)
            return scores

        scores = one_pass()
        while len(seconds) < TIMED_PASSES_AT_MOST and sum(seconds) < TIMED_SECONDS:
            started = perf_counter()
            one_pass()
            seconds.append(perf_counter() - started)
    return scores, min(seconds) / at_once


def try_backends(
    make: Callable[[str, str], Scorer],
    pairs: Iterable[tuple[str, str]],
    reference: Tensor,
    values: Tensor,
    valid: Tensor | None,
) -> tuple[PrecisionTrial, ...]:
    """Measure pairs of backend and precision on one batch of real tiles.

    Parameters
    ----------
    make
        Gives the scorer of a backend and a precision.
    pairs
        What is tried. A backend that cannot convert the network is not measured; its trial says why.
    reference
        Scores of float32 in torch.
    values, valid
        The batch.
    """
    trials: list[PrecisionTrial] = []
    for backend, precision in pairs:
        try:
            scorer = make(backend, precision)
            scores, seconds = timed_scores(scorer, values, valid)
        except (ModelError, WriteFailedError) as error:
            trials.append(PrecisionTrial(precision, 0.0, 1.0, 0.0, backend, str(error)))
            continue
        trials.append(compare(precision, scores, reference, valid, seconds, backend))
    return tuple(trials)


def fastest_agreeing(trials: Sequence[PrecisionTrial]) -> PrecisionTrial | None:
    """Return the fastest trial whose classes are those of float32 on enough pixels, or None."""
    agreeing = [t for t in trials if not t.refused and t.agreement >= REQUIRED_AGREEMENT]
    return min(agreeing, key=lambda trial: trial.seconds, default=None)


def require_agreement(trials: Sequence[PrecisionTrial]) -> PrecisionTrial:
    """Return the fastest agreeing trial of a backend that the user named.

    Raises
    ------
    ModelError
        If none agrees, with what was measured, or why nothing was.
    """
    fastest = fastest_agreeing(trials)
    if fastest is None:
        best = max(trials, key=lambda trial: trial.agreement)
        if best.refused:
            raise ModelError(best.refused)
        msg = (
            f"--backend {best.backend} gives {best.agreement:.2%} of the pixels of real tiles the class that float32 "
            f"gives, {REQUIRED_AGREEMENT:.1%} are required; use --backend torch"
        )
        raise ModelError(msg)
    return fastest


def compare(
    precision: str,
    scores: Tensor,
    reference: Tensor,
    valid: Tensor | None,
    seconds: float,
    backend: str = "torch",
) -> PrecisionTrial:
    """Return the trial of scores, against those of float32; only valid pixels count.

    Scores that are NaN, such as of a float16 that overflows, agree with NaN alone.
    """
    lost, expected = scores.isnan().any(1), reference.isnan().any(1)
    same = (scores.argmax(1) == reference.argmax(1)) & (lost == expected)
    difference = (scores - reference).abs().amax(1)
    difference = torch.where(lost | expected, (lost != expected).to(difference.dtype), difference)
    if valid is not None:
        keep = valid.to(same.device)
        same, difference = same[keep], difference[keep]
    if same.numel() == 0:
        return PrecisionTrial(precision, 1.0, 0.0, seconds, backend)
    return PrecisionTrial(precision, float(same.float().mean()), float(difference.max()), seconds, backend)
