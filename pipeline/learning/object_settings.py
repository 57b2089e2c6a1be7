"""Settings of objects: borders that are made of them, weights between near neighbours, and sheaths around them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from segment_tiles.pipeline.grid.objects import LARGEST_REACH, ObjectRule
from segment_tiles.pipeline.learning.setting_types import Positive, Settings

BorderRule = Literal["touching", "all"]


class BorderSettings(Settings):
    """A class for the pixels between objects, so that those that touch can be told apart."""

    of: str
    """Class whose objects get borders."""
    width: Annotated[int, Field(ge=1, le=64)] = 2
    """Pixels of the model, diagonals counted as one."""
    where: BorderRule = "touching"
    """touching: pixels that have two objects within ``width``; all: the rim of every object too."""
    border: str = ""
    """Name of the border class; empty: that of ``of`` and `` border``."""
    reach: Annotated[int, Field(ge=1, le=LARGEST_REACH)] | None = None
    """Pixels from an object up to which the model gives border pixels to it; None: three times ``width``."""
    min_pixels: Annotated[int, Field(ge=0)] = 0
    """Smaller objects of a map are left out."""

    @property
    def border_class(self) -> str:
        """Name of the border class."""
        return self.border or f"{self.of} border"

    @property
    def rule(self) -> ObjectRule:
        """How a map of the model becomes objects."""
        return ObjectRule(
            self.of, self.border_class, self.reach or 3 * self.width, min_pixels=self.min_pixels
        )


class SheathSettings(Settings):
    """How connected pieces of a class become objects, and what around them is measured: myelin around axons.

    It says what is made of the maps of the model; nothing is learnt by it.
    """

    of: str
    """Class whose pieces are objects."""
    sheath: str
    """Class around them."""
    reach: Annotated[int, Field(ge=1, le=LARGEST_REACH)]
    """Pixels of the model from an object up to which pixels of the sheath count for it."""
    min_pixels: Annotated[int, Field(ge=0)] = 0
    """Smaller objects of a map are left out."""

    @property
    def rule(self) -> ObjectRule:
        """How a map of the model becomes objects."""
        return ObjectRule(self.of, reach=self.reach, min_pixels=self.min_pixels, sheath=self.sheath)


class NeighbourWeightSettings(Settings):
    """How much more pixels between near objects count in the loss (U-Net, 1505.04597, equation 2)."""

    w0: Positive = 10.0
    """Weight that is added where two objects meet."""
    sigma: Annotated[float, Field(gt=0, le=64)] = 5.0
    """How soon it falls with the sum of the distances to the two nearest objects, in pixels."""
