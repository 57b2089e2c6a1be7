"""Another stain: how much of haematoxylin, eosin and DAB a picture of tissue shows is changed (Tellez 2018).

scikit-image splits colour into the three stains (Ruifrok and Johnston 2001) and joins them again.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segment_tiles.pipeline.errors import MissingExtraError
from segment_tiles.pipeline.learning.augmentation_settings import StainSettings

SAME_COLOR = 1e-6
"""Difference of bands, as a share of white, up to which a picture is grey and has no stain."""


def check_stain(settings: StainSettings) -> None:
    """Refuse other stains where the library that makes them is missing: before any data is looked at.

    Raises
    ------
    MissingExtraError
        scikit-image is not installed.
    """
    if settings.probability > 0 and importlib.util.find_spec("skimage") is None:
        msg = (
            f"augmentation.stain has the probability {settings.probability:g}, which needs scikit-image; install it "
            "with: pip install 'segment-tiles[slides]', or leave augmentation.stain out"
        )
        raise MissingExtraError(msg)


class StainJitter:
    """Changes the stains of normalised values, 3 x rows x columns.

    Parameters
    ----------
    settings
        How much.
    mean, std
        Of the bands, 3 x 1 x 1.
    white
        Value of white before they were normalised; black is 0.
    """

    def __init__(
        self, settings: StainSettings, mean: NDArray[np.float32], std: NDArray[np.float32], white: float
    ) -> None:
        self._settings = settings
        self._mean, self._std = torch.from_numpy(mean), torch.from_numpy(std)
        self._white = white

    def __call__(self, values: Tensor, random: np.random.Generator) -> Tensor:
        """Return changed values; the same generator state gives the same change. Grey pictures stay as they are."""
        settings = self._settings
        if settings.probability == 0 or random.random() >= settings.probability:
            return values
        gain = random.uniform(1 - settings.gain, 1 + settings.gain, 3)
        shift = random.uniform(-settings.shift, settings.shift, 3)
        light = ((values * self._std + self._mean) / self._white).clamp(0, 1)
        if float((light.amax(0) - light.amin(0)).max()) <= SAME_COLOR:
            return values
        from skimage.color import hed2rgb, rgb2hed  # noqa: PLC0415 - an extra

        stains = rgb2hed(light.movedim(0, -1).numpy()) * gain + shift
        changed = torch.from_numpy(hed2rgb(stains).astype(np.float32)).movedim(-1, 0)
        return (changed * self._white - self._mean) / self._std
