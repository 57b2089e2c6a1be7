"""Networks of MONAI that a package may ask for by name, built from literal settings alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from torch import nn

from segment_tiles.pipeline.errors import ModelError, one_line
from segment_tiles.pipeline.models.networks.comparison import BACKGROUND, AnySize
from segment_tiles.pipeline.models.packages.manifest import Architecture

MONAI: Final = "monai"
"""Architecture whose backbone is the name of a class of `monai.networks.nets`."""
NETWORKS: Final = (
    "AttentionUnet", "BasicUNet", "BasicUNetPlusPlus", "DynUNet", "FlexibleUNet", "SegResNet", "SegResNetDS",
    "SwinUNETR", "UNet",
)  # fmt: skip
"""Networks that map a picture to logits of its size; no other class is ever built."""
CHANNELS_OF: Final = {"in_channels": "input bands", "out_channels": "classes"}
USUAL_MULTIPLE: Final = 32
"""Sides that networks of five halvings take."""


def build_monai(architecture: Architecture, bands: int, classes: int) -> nn.Module:
    """Build a network of MONAI from the literal settings of a package.

    Raises
    ------
    ModelError
        The class is not listed, is not of two dimensions, or cannot be built of these settings.
    """
    name, arguments = architecture.backbone, dict(architecture.details.get("arguments", {}))
    check_network(name, arguments)
    background = bool(architecture.details.get(BACKGROUND))
    for argument, count in (("in_channels", bands), ("out_channels", classes - background)):
        if arguments.get(argument) != count:
            found, needed = arguments.get(argument), f"{count} {CHANNELS_OF[argument]}"
            msg = f"MONAI's {name} has {argument} {found}, the manifest {needed}"
            raise ModelError(msg)
    try:
        network: nn.Module = getattr(import_module("monai.networks.nets"), name)(**arguments)
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError) as error:
        msg = f"MONAI cannot build {name} of {arguments}: {one_line(error)}"
        raise ModelError(msg) from error
    return AnySize(network, side_multiple(arguments), background=background)


def check_network(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse what is not on the list, or has not two dimensions.

    Raises
    ------
    ModelError
        Says which.
    """
    if name not in NETWORKS:
        msg = f"MONAI's {name} is not on the list of networks that are built ({', '.join(NETWORKS)})"
        raise ModelError(msg)
    dimensions = arguments.get("spatial_dims")
    if dimensions != 2:
        said = "does not say its spatial_dims, so it has three" if dimensions is None else f"has {dimensions}"
        msg = (
            f"MONAI's {name} {said} dimensions; only networks of two run here: volumes are cut into slices, so "
            "train it with spatial_dims 2"
        )
        raise ModelError(msg)


def side_multiple(arguments: Mapping[str, Any]) -> int:
    """Return what the sides of the input must be a multiple of: the product of the strides.

    >>> side_multiple({"strides": [2, 2, 2]}), side_multiple({})
    (8, 32)
    """
    strides = arguments.get("strides")
    if strides is None:
        return USUAL_MULTIPLE
    return math.prod(stride if isinstance(stride, int) else max(stride) for stride in strides)
