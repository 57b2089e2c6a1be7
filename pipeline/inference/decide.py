"""Class codes by thresholds, of scores as bytes (`grid.decision` says by which rules)."""

from __future__ import annotations

import torch
from torch import Tensor

from segment_tiles.pipeline.grid.decision import Decision


def decided(scores: Tensor, decision: Decision) -> tuple[Tensor, Tensor]:
    """Return the class of each pixel, and the score of that class; of a pixel that is not sure the highest of all.

    Parameters
    ----------
    scores
        classes x rows x columns, uint8.
    decision
        The thresholds.

    Returns
    -------
    codes
        rows x columns, uint8 up to 254 classes, int32 above; the number of classes if not sure.
    confidence
        rows x columns, uint8.
    """
    count = scores.shape[0]
    own = dict(decision.thresholds)
    codes = torch.full(scores.shape[1:], count, dtype=torch.int32, device=scores.device)
    confidence = scores.amax(0)
    # what must be exceeded: below every score, or just below the byte that is asked for
    to_beat = torch.full(
        scores.shape[1:], (decision.unsure or 0) - 1, dtype=torch.int16, device=scores.device
    )
    for code in range(count):
        if code not in own:
            _take(codes, confidence, to_beat, scores[code], code, reaches=0)
    to_beat.fill_(-1)
    for code, threshold in decision.thresholds:
        _take(codes, confidence, to_beat, scores[code], code, reaches=threshold)
    return (codes.to(torch.uint8) if count < 255 else codes), confidence


def _take(
    codes: Tensor, confidence: Tensor, to_beat: Tensor, score: Tensor, code: int, *, reaches: int
) -> None:
    """Give a class the pixels where its score is the highest so far and reaches its threshold."""
    wins = (score > to_beat) & (score >= reaches)
    codes.masked_fill_(wins, code)
    torch.where(wins, score, confidence, out=confidence)
    torch.where(wins, score.to(to_beat.dtype), to_beat, out=to_beat)
