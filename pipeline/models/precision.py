"""Precision and backend of a run: the fastest pair whose class map agrees with float32 on real tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
from segment_tiles.pipeline.models.packages.geometry import middle
from segment_tiles.pipeline.models.trials import DECIDED_MARGIN, PrecisionTrial

TIMED_PASSES_AT_MOST = 3
"""Timed forward passes of each candidate, after one that warms up; the fastest counts."""
TIMED_SECONDS = 0.5
"""Time after which no further pass is timed: on a slow machine one says enough."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Real tiles on which precisions and backends are compared."""

    values: Tensor
    """(tiles, bands, T, T), raw values of the raster."""
    valid: Tensor | None = None
    """(tiles, 1 or bands, T, T) bool: what the network is shown; None: all."""

    @property
    def count(self) -> int:
        """Number of tiles."""
        return int(self.values.shape[0])

    def batch(self, first: int, size: int) -> tuple[Tensor, Tensor | None]:
        """Return so many tiles from the first one on; after the last one the first ones come again."""
        indices = (torch.arange(size) + first) % self.count
        return self.values[indices], None if self.valid is None else self.valid[indices]


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


def scores_of(segmenter: Scorer, sample: Sample, batch: int) -> Tensor:
    """Return the scores of all tiles of a sample, computed in batches of one size."""
    scores = [segmenter.scores(*sample.batch(first, batch)) for first in range(0, sample.count, batch)]
    return torch.cat(scores)[: sample.count]


def try_backends(
    make: Callable[[str, str], Scorer],
    pairs: Iterable[tuple[str, str]],
    reference: Tensor,
    sample: Sample,
    batch: int,
) -> tuple[PrecisionTrial, ...]:
    """Measure pairs of backend and precision on real tiles.

    Parameters
    ----------
    make
        Gives the scorer of a backend and a precision.
    pairs
        What is tried. A backend that cannot convert the network is not measured; its trial says why.
    reference
        Scores of float32 in torch of every tile.
    sample
        The tiles.
    batch
        Tiles of a forward pass.
    """
    trials: list[PrecisionTrial] = []
    for backend, precision in pairs:
        try:
            scorer = make(backend, precision)
            _, seconds = timed_scores(scorer, *sample.batch(0, batch))
            scores = scores_of(scorer, sample, batch)
        except (ModelError, WriteFailedError) as error:
            may_pass = isinstance(error, WriteFailedError)
            trials.append(PrecisionTrial(precision, 0.0, 1.0, 0.0, backend, str(error), 0.0, may_pass))
            continue
        trials.append(compare(precision, scores, reference, sample.valid, seconds, backend))
    return tuple(trials)


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
    decided = decided_pixels(reference) | expected  # a pixel that float32 says nothing about counts
    if valid is not None:
        pixels = valid.any(1) if valid.ndim == 4 else valid
        keep = middle(pixels, (pixels.shape[-1] - same.shape[-1]) // 2).to(same.device)
        same, difference, decided = same[keep], difference[keep], decided[keep]
    if same.numel() == 0:
        return PrecisionTrial(precision, 1.0, 0.0, seconds, backend)
    return PrecisionTrial(
        precision,
        float(same.float().mean()),
        float(difference.max()),
        seconds,
        backend,
        decided_agreement=float(same[decided].double().mean()) if decided.any() else 1.0,
    )


def decided_pixels(reference: Tensor) -> Tensor:
    """Return which pixels float32 is sure of, (tiles, T, T), by its scores (tiles, classes, T, T); of one class all."""
    if reference.shape[1] == 1:
        return torch.ones_like(reference[:, 0], dtype=torch.bool)
    best = reference.topk(2, dim=1).values
    return best[:, 0] - best[:, 1] >= DECIDED_MARGIN
