"""What a model asks of every scene: bands, pixel size, borders; and a shelf that keeps few of many scenes open."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import isclose
from typing import Protocol

from segment_tiles.pipeline.learning.object_settings import BorderSettings, NeighbourWeightSettings
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.learning.setting_types import first_scaling
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.sources.view import View

MOST_OPEN = 128
"""Pictures that one process keeps open; each has two files."""
MICROMETRES = {"m": 1e6, "millimeter": 1e3, "micrometer": 1.0}
"""In one unit of ``pixel_unit``."""


@dataclass(frozen=True, slots=True)
class WantedScene:
    """What the model asks of every scene."""

    repeats_grey: bool = False
    """A raster of one band is told as three equal ones."""
    pixel_size: float | None = None
    pixel_unit: str = "m"
    borders: BorderSettings | None = None
    weight: NeighbourWeightSettings | None = None
    scaling: Scaling | None = None
    """What is done to values before all else; numbers of each scene are not known yet."""

    @classmethod
    def of(cls, settings: TrainingSettings, *, repeats_grey: bool = False) -> WantedScene:
        """Return what the settings of a training ask for."""
        return cls(
            repeats_grey,
            settings.pixel_size,
            settings.pixel_unit,
            settings.borders,
            settings.neighbour_weight,
            first_scaling(settings.scaling) if settings.scaling else None,
        )

    def view_of(self, scene: SceneSettings) -> View | None:
        """Return how a scene is resampled to the pixels of the model; None: it has them, or does not say."""
        if scene.pixel_size is None or self.pixel_size is None or isclose(scene.pixel_size, self.pixel_size):
            return None
        unit = MICROMETRES[self.pixel_unit]
        return View(mpp=self.pixel_size * unit, source_mpp=scene.pixel_size * unit)


ANY_SCENE = WantedScene()
"""Nothing is asked: a scene as it is."""


class Closable(Protocol):
    """What opens itself again when it is used."""

    def close(self) -> None:
        """Close files."""


class Shelf:
    """Keeps the scenes that were used last open, and closes the others: of a thousand pictures few are read at once."""

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        self._open: OrderedDict[int, Closable] = OrderedDict()

    def used(self, scene: Closable) -> None:
        """Note that a scene is in use; the one that was used longest ago is closed if there are too many."""
        self._open[id(scene)] = scene
        self._open.move_to_end(id(scene))
        if len(self._open) > self._most:
            self._open.popitem(last=False)[1].close()
