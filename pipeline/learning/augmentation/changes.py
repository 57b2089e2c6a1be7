"""Random changes of a training window: zoom, rotation, flips, and the light of another flight."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from monai.transforms.compose import Compose
from monai.transforms.intensity.array import (
    RandAdjustContrast,
    RandGaussianNoise,
    RandGaussianSmooth,
    RandScaleIntensity,
    RandShiftIntensity,
)
from monai.transforms.spatial.array import RandSimulateLowResolution
from monai.transforms.transform import Transform
from torch import Tensor
from torch.nn import functional as F

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.augmentation_settings import AugmentationSettings
from segment_tiles.pipeline.learning.settings import IGNORE_CODE


@dataclass(frozen=True, slots=True)
class Placement:
    """How a training window lies on its scene."""

    scale: float
    """Zoom: 2 shows things twice as large."""
    angle: float
    """Rotation in radians."""
    flip: bool
    """Mirrored left to right; with a rotation by any angle this is every flip."""

    def footprint(self, row: int, column: int, side: int) -> Window:
        r"""Return the box of the scene that a window of ``side`` pixels around a centre needs.

        ::

            +-----------+
            |    /\     |   side / scale, rotated by angle
            |  /    \   |
            |  \    /   |   one pixel more for the interpolation
            +-----------+
        """
        reach = side / self.scale / 2 * (abs(math.cos(self.angle)) + abs(math.sin(self.angle)))
        half = math.ceil(reach) + 1
        return Window(row - half, column - half, 2 * half, 2 * half)


def draw_placement(settings: AugmentationSettings, random: np.random.Generator) -> Placement:
    """Draw zoom, rotation and flip."""
    low, high = (math.log(s) for s in settings.scale)
    return Placement(
        scale=math.exp(random.uniform(low, high)),
        angle=math.radians(random.uniform(-settings.rotation, settings.rotation)),
        flip=bool(settings.flips and random.random() < 0.5),
    )


def cut_window(values: Tensor, labels: Tensor, placement: Placement, side: int) -> tuple[Tensor, Tensor]:
    """Cut the window out of its footprint: values bilinearly, labels by nearest neighbour.

    Parameters
    ----------
    values
        float32, bands x n x n.
    labels
        uint8, n x n.
    placement
        How the window lies on the scene.
    side
        Pixels of the window.

    Returns
    -------
    values, labels
        bands x side x side, and side x side int64.
    """
    grid = _grid(placement, side, labels.shape[-1])
    cut = F.grid_sample(values[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    # nearest neighbour of codes: shifted by one so that 0 can stand for "outside"
    shifted = labels[None, None].float() + 1
    nearest = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0, 0]
    codes = nearest.long() - 1
    return cut, torch.where(codes < 0, IGNORE_CODE, codes)


def cut_weights(weights: Tensor, placement: Placement, side: int) -> Tensor:
    """Cut weights, float32 n x n, as `cut_window` cuts values; 0 outside."""
    grid = _grid(placement, side, weights.shape[-1])
    cut = F.grid_sample(weights[None, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return cut[0, 0]


def _grid(placement: Placement, side: int, footprint: int) -> Tensor:
    """Return where each pixel of a window lies on its footprint, as torch counts: 1 x side x side x 2."""
    reach = side / placement.scale / footprint
    cosine, sine = math.cos(placement.angle) * reach, math.sin(placement.angle) * reach
    mirror = -1.0 if placement.flip else 1.0
    matrix = torch.tensor([[[cosine * mirror, -sine, 0.0], [sine * mirror, cosine, 0.0]]])
    return F.affine_grid(matrix, [1, 1, side, side], align_corners=False)


class RadiometricAugmentation:
    """Changes of light and sensor on normalised values, bands x rows x columns.

    Each band is changed on its own: otherwise a model that saw only one flight learns its colours, and fails on the
    next.
    """

    def __init__(self, settings: AugmentationSettings) -> None:
        self._settings = settings
        p = settings.probability
        changes = [
            RandAdjustContrast(prob=p, gamma=settings.gamma),
            RandScaleIntensity(factors=settings.band_gain, prob=p, channel_wise=True),
            RandShiftIntensity(offsets=settings.band_offset, prob=p, channel_wise=True),
            RandShiftIntensity(offsets=settings.brightness, prob=p),
            RandGaussianSmooth(
                sigma_x=(0.0, settings.blur), sigma_y=(0.0, settings.blur), prob=p * (settings.blur > 0)
            ),
            *coarser(settings),
            RandGaussianNoise(prob=p * (settings.noise > 0), std=max(settings.noise, 1e-6)),
        ]
        self._changes = Compose(changes)

    def __call__(self, values: Tensor, random: np.random.Generator) -> Tensor:
        """Return changed values; the same generator state gives the same change."""
        if self._settings.probability == 0:
            return values
        if self._settings.grey > 0 and random.random() < self._settings.probability:
            share = random.uniform(0, self._settings.grey)
            values = torch.lerp(values, values.mean(dim=0, keepdim=True).expand_as(values), share)
        self._changes.set_random_state(seed=int(random.integers(2**31)))
        changed = self._changes(values)
        return torch.as_tensor(np.asarray(changed), dtype=torch.float32)


def coarser(settings: AugmentationSettings) -> list[Transform]:
    """Return the change to coarser pixels and back; none where it is off, so that it draws no random number."""
    if settings.low_resolution == 1:
        return []
    return [
        RandSimulateLowResolution(
            settings.probability, "area", "bilinear", zoom_range=(1 / settings.low_resolution, 1.0)
        )
    ]
