"""Several looks at the same tiles as one: test-time augmentation, several models, or both, averaged."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.models.segmenter import Segmenter


@dataclass(frozen=True, slots=True)
class Turn:
    """One symmetry of the square: a tile is mirrored, then turned; its scores are put back."""

    quarters: int = 0
    """Quarter turns."""
    mirrored: bool = False
    """Whether columns are reversed first."""

    def applied(self, pixels: Tensor) -> Tensor:
        """Return (..., T, T) turned."""
        mirrored = pixels.flip(-1) if self.mirrored else pixels
        return torch.rot90(mirrored, self.quarters, (-2, -1)) if self.quarters else mirrored

    def undone(self, pixels: Tensor) -> Tensor:
        """Return (..., T, T) as it was before."""
        turned = torch.rot90(pixels, -self.quarters, (-2, -1)) if self.quarters else pixels
        return turned.flip(-1) if self.mirrored else turned


TURNS: dict[str, tuple[Turn, ...]] = {
    "none": (Turn(),),
    "flips": (Turn(), Turn(0, mirrored=True), Turn(2, mirrored=True), Turn(2)),
    "rotations": (Turn(), Turn(1), Turn(2), Turn(3)),
}
"""By the value of ``--tta``; rows reversed is a half turn of columns reversed."""


class Ensemble:
    """Models of the same classes, each asked in every turn; the mean of their probabilities.

    One batch of probabilities is held beside the sum, whatever the number of models and turns.

    Parameters
    ----------
    members
        On one device; the first one's class table is that of the result.
    augmentation
        none, flips or rotations.
    """

    def __init__(self, members: Sequence[Segmenter], augmentation: str) -> None:
        self.members, self.turns = tuple(members), TURNS[augmentation]
        self.manifest, self.classes = members[0].manifest, members[0].classes
        self.device, self.precision, self.backend = (
            members[0].device,
            members[0].precision,
            members[0].backend,
        )
        self.batches_at_once = members[0].batches_at_once
        """As a Segmenter has it."""
        self.batches_of_streams = members[0].batches_of_streams
        """As a Segmenter has it."""
        self.folded_batch_norms = sum(member.folded_batch_norms for member in members)

    def scaled_by(self, scalings: Sequence[Scaling | None]) -> Ensemble:
        """Return the same with other scalings of the members; None: that of the package."""
        members = [member.scaled_by(one) for member, one in zip(self.members, scalings, strict=True)]
        other = copy.copy(self)
        other.members, other.manifest = tuple(members), members[0].manifest
        return other

    @torch.inference_mode()
    def scores(self, values: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the mean probabilities (batch, classes, T, T), float32, in the order members and turns have."""
        # torch turns signed numbers and bytes alone
        wider = {torch.uint16: torch.int32, torch.uint32: torch.int64}.get(values.dtype, values.dtype)
        values, total = values.to(wider), None
        for turn in self.turns:
            seen = turn.applied(values)
            mask = None if valid is None else turn.applied(valid)
            for member in self.members:
                scores = turn.undone(member.scores(seen, mask))
                total = scores if total is None else total.add_(scores)
        assert isinstance(total, Tensor)  # there is a turn and a member
        return total.div_(len(self.turns) * len(self.members))
