"""Scaling of one scene by its own numbers, as a run measures them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.models.scaling.scaler import Scaler
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.resampling.looked_at import pixels_of, together

CPU = torch.device("cpu")


def measured_in(source: Source, scaling: Scaling, scene: str) -> Scaling:
    """Return a scaling with the numbers of a scene, from the pixels that a run looks at.

    Raises
    ------
    TrainingError
        A band has no valid pixel.
    """
    values, valid = together(list(pixels_of(source)))
    scaler = Scaler(scaling, source.spec.bands, CPU)
    found = scaler.measured(
        torch.from_numpy(np.ascontiguousarray(values))[None, :, None], torch.from_numpy(valid)[None, :, None]
    )
    if found is None:
        msg = f"scene {scene} has no valid pixel in a band, so scaling has no numbers of it; leave the scene out"
        raise TrainingError(msg)
    return found


def scaled_values(scaling: Scaling, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return values of a window as float32, bands x rows x columns, by a scaling whose numbers are known."""
    scaler = Scaler(scaling, len(values), CPU)
    image = scaler.scaled(torch.from_numpy(np.ascontiguousarray(values))[None], torch.from_numpy(valid)[None])
    scaled: NDArray[np.float32] = image[0].numpy()
    return scaled
