"""A network of another library, run once before a package is made of it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from segment_tiles.pipeline.errors import ModelError


@torch.inference_mode()
def check_answer(network: nn.Module, path: Path, *, bands: int, classes: int, side: int) -> None:
    """Run a network on noise of `side` pixels and refuse an answer that is no map of classes.

    Raises
    ------
    ModelError
        Another size than the input's, another number of classes, or values that are no numbers.
    """
    image = torch.randn(1, bands, side, side, generator=torch.Generator().manual_seed(0))
    try:
        found = network.eval()(image)
    except ModelError as error:
        msg = f"{path}: {error}"
        raise ModelError(msg) from error
    if tuple(found.shape) != (1, classes, side, side):
        msg = f"{path}: the network answers (1, {bands}, {side}, {side}) by {tuple(found.shape)}, for {classes} classes"
        raise ModelError(msg)
    if not found.isfinite().all():
        msg = f"{path}: the network answers noise with NaN or infinity; its weights are damaged"
        raise ModelError(msg)
