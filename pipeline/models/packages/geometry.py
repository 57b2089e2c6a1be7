"""How the output of a network lies on the tile that it is fed, and what its numbers mean."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # manifests are read where torch is not needed
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class OutputGeometry:
    """From the tile of a network to its class scores.

    ::

        tile, T px    |<- margin ->|<------- scored: T - 2 margin ------->|<- margin ->|
        output                     |   one of `coarser` px, made finer    |
    """

    margin: int = 0
    """Pixels on each side of a tile for which there is no output."""
    coarser: int = 1
    """Pixels of the tile along a side of one of the output; the output is made as fine as the tile by bilinear."""
    align_corners: bool = False
    """Of that bilinear: whether the centres of the corner pixels stay where they are, or the corners themselves."""
    fixed_side: bool = False
    """Whether the network takes tiles of the model's side alone."""
    multi_label: bool = False
    """Whether each class is a sigmoid of its own, so that a pixel may have several, or none; else softmax."""

    def scored(self, tile: int) -> int:
        """Return the side of what a tile gives scores for, in pixels."""
        return tile - 2 * self.margin

    @property
    def said(self) -> dict[str, Any]:
        """What differs from the defaults, as plain JSON values."""
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if getattr(self, one.name) != one.default
        }

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def middle(pixels: Tensor, margin: int) -> Tensor:
    """Return pixels (..., rows, columns) without a margin."""
    return pixels[..., margin:-margin, margin:-margin] if margin else pixels


PLAIN: Final = OutputGeometry()
"""An output of the size of the tile."""
