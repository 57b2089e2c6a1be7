"""Changes the colour of each class on its own, so that a model does not know a class by its colour at one site.

::

    grass is green here              sand is pale there
    +------------------+             +------------------+
    |   .  oo   .   .  |    ground   |      oo          |
    |  .  oooo .   .   |   ------->  |     oooo         |    texture, shadows and crowns stay
    | .    oo    .   . |             |      oo          |
    +------------------+             +------------------+

A network that saw trees only on green meadows learns that green is meadow, however the light of whole pictures is
changed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor

from segment_tiles.pipeline.learning.augmentation_settings import RecoloringSettings
from segment_tiles.pipeline.learning.settings import IGNORE_CODE

EDGE_SIGMA = (1.0, 4.0)
"""Range of the blur of the edge between two colours, in pixels: labels are rarely exact to the pixel."""
RAGGEDNESS_SIGMA = 5.0
"""Size of what makes that edge ragged, in pixels; a smooth edge would follow the label."""
RAGGEDNESS = 0.35
"""How far the edge is moved, as a share of its blur."""


class ClassRecoloring:
    """Changes the colours of classes in normalised values, bands x rows x columns.

    Parameters
    ----------
    settings
        By class name; a class that is not named keeps its colours.
    names
        Names of the classes in the order of their codes.
    mean, std
        Of the bands, bands x 1 x 1; they give the normalised value of black, which is 0 in the raster.
    """

    def __init__(
        self,
        settings: Mapping[str, RecoloringSettings],
        names: tuple[str, ...],
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
    ) -> None:
        self._settings = {names.index(name): setting for name, setting in settings.items()}
        self._mean, self._std = torch.from_numpy(mean), torch.from_numpy(std)

    def __call__(self, values: Tensor, labels: Tensor, random: np.random.Generator) -> Tensor:
        """Return changed values; the same generator state gives the same change.

        Parameters
        ----------
        values
            bands x side x side, float32.
        labels
            side x side codes; a pixel without a label goes with the nearest that has one.
        random
            Not used if no class changes.
        """
        drawn = [code for code, s in self._settings.items() if random.random() < s.probability]
        if not drawn:
            return values
        codes = _nearest_labels(labels.numpy())
        light = values * self._std + self._mean
        changed = light
        for code in drawn:
            share = torch.from_numpy(_ragged_share(codes == code, random))
            changed = torch.lerp(changed, _recolored(light, self._settings[code], random), share)
        return (changed - self._mean) / self._std


def _recolored(light: Tensor, settings: RecoloringSettings, random: np.random.Generator) -> Tensor:
    """Return raw values in another colour; black stays black, so shadows stay shadows."""
    grey = float(random.uniform(0, settings.grey))
    tint = np.exp(random.uniform(-settings.tint, settings.tint, (light.shape[0], 1, 1)))
    gain = np.exp(random.uniform(*np.log(settings.gain)))
    faded = torch.lerp(light, light.mean(dim=0, keepdim=True).expand_as(light), grey)
    return faded * torch.from_numpy((gain * tint).astype(np.float32))


def _nearest_labels(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return codes in which every ignored pixel has that of the nearest other one, if there is one."""
    ignored = labels == IGNORE_CODE
    if not ignored.any() or ignored.all():
        return labels
    rows, columns = distance_transform_edt(ignored, return_distances=False, return_indices=True)
    nearest: NDArray[np.int64] = labels[rows, columns]
    return nearest


def _ragged_share(inside: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.float32]:
    """Return how much of each pixel is inside, 0 to 1, with a blurred and ragged edge."""
    share = gaussian_filter(inside.astype(np.float32), random.uniform(*EDGE_SIGMA), mode="nearest")
    noise = gaussian_filter(random.standard_normal(inside.shape, dtype=np.float32), RAGGEDNESS_SIGMA)
    noise /= max(float(noise.std()), 1e-6)
    ragged: NDArray[np.float32] = np.clip(share + RAGGEDNESS * noise * 4 * share * (1 - share), 0, 1)
    return ragged
