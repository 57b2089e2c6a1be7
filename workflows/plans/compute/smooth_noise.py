"""Tiles that look a little like a scene, for measurements without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from segment_tiles.pipeline.models.scaling.usual import usual_values

if TYPE_CHECKING:
    from torch import Tensor

    from segment_tiles.pipeline.models.packages.manifest import ModelManifest


def smooth_noise(manifest: ModelManifest, batch: int, tile: int) -> Tensor:
    """Return smooth noise about the band means, the same every time; a run compares on its own tiles again."""
    import torch  # noqa: PLC0415

    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(size=(batch, len(manifest.bands), 16, 16)))
    smooth = torch.nn.functional.interpolate(coarse, size=(tile, tile), mode="bilinear")
    shape = (1, -1, 1, 1)
    dtype = np.dtype(manifest.dtype)
    mean, std = usual_values(manifest.scaling_used, len(manifest.bands), manifest.dtype)
    values = smooth * torch.tensor(std).reshape(shape) + torch.tensor(mean).reshape(shape)
    if dtype.kind == "f":
        return values.to(torch.float32)
    limits = np.iinfo(dtype)
    return torch.from_numpy(values.numpy().clip(limits.min, limits.max).astype(dtype))
