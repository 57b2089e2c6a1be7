"""Networks to compare DeepLab with, from the libraries of the field: U-Net and SegFormer."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segment_tiles.pipeline.errors import MissingExtraError, ModelError, one_line
from segment_tiles.pipeline.models.networks.layers import refuse_tracing
from segment_tiles.pipeline.models.packages.manifest import Architecture

COMPARISON = ("unet", "segformer", "smp")
BACKGROUND = "background"
"""Detail of a network of one output: a background of logit 0 is put before it, so that softmax is its sigmoid."""
MONAI_UNET = "basic"
"""Backbone name of MONAI's BasicUNet; any other name is an encoder of segmentation_models_pytorch."""
SMP_CLASSES = ("DeepLabV3", "DeepLabV3Plus", "FPN", "Segformer", "Unet", "UnetPlusPlus", "UPerNet")
"""Models of segmentation_models_pytorch that a package may ask for by name."""

_UNET_WIDTHS = (32, 32, 64, 128, 256, 32)
"""MONAI's own default: four halvings, then the width before the logits."""
_SMP_MULTIPLE = 32
"""Sides that SMP encoders of five halvings take."""


def build_comparison(architecture: Architecture, bands: int, classes: int, *, pretrained: bool) -> nn.Module:
    """Build U-Net (MONAI, or SMP with an encoder), SegFormer (SMP), or any listed SMP model.

    Raises
    ------
    MissingExtraError
        The library is not installed.
    ModelError
        The library cannot build what is asked for.
    """
    if architecture.arch == "unet" and architecture.backbone == MONAI_UNET:
        if pretrained:
            msg = "MONAI's U-Net has no pretrained weights; train it from scratch, or name an encoder as backbone"
            raise ModelError(msg)
        return _monai_unet(architecture, bands, classes)
    background = bool(architecture.details.get(BACKGROUND))
    model_class, config = _smp_request(architecture, pretrained=pretrained)
    network = _smp_model(model_class, {**config, "in_channels": bands, "classes": classes - background})
    return AnySize(network, _SMP_MULTIPLE, background=background)


class AnySize(nn.Module):
    """Lets a network of another library that needs sides of a multiple take any.

    Parameters
    ----------
    network
        Maps (B, bands, H, W) to logits of the same size, where H and W are multiples of `multiple`.
    multiple
        1 if the network takes any size; else it is padded below and right, and its logits are cropped.
    background
        Put a first class of logit 0 before the one output of the network.
    """

    def __init__(self, network: nn.Module, multiple: int, *, background: bool = False):
        super().__init__()
        self.network = network
        self.multiple = multiple
        self.background = background

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, bands, H, W) to logits (B, classes, H, W).

        Raises
        ------
        ModelError
            The network answers in another size than that of its input.
        """
        refuse_tracing(image, "a network of another library")
        height, width = image.shape[-2:]
        # replicate, not reflect: an image may be narrower than what it lacks
        padded = F.pad(image, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        answer = self.network(padded)
        # MONAI's BasicUNetPlusPlus returns a list, of which the last is the deepest
        logits: Tensor = answer[-1] if isinstance(answer, list) else answer
        if logits.shape[-2:] != padded.shape[-2:]:
            given, got = (" x ".join(str(side) for side in t.shape[-2:]) for t in (padded, logits))
            msg = f"the network answers {given} px by {got} px; an output of the size of its input is needed"
            raise ModelError(msg)
        if self.background:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        return logits[..., :height, :width]


def _monai_unet(architecture: Architecture, bands: int, classes: int) -> nn.Module:
    from monai.networks.nets.basic_unet import BasicUNet  # noqa: PLC0415 - seconds to import, and seldom needed

    widths = tuple(architecture.details.get("widths", _UNET_WIDTHS))
    unknown = set(architecture.details) - {"widths"}
    if unknown or len(widths) != len(_UNET_WIDTHS):
        msg = f"U-Net details are {dict(architecture.details)}; only 'widths', 6 channel counts, can be set"
        raise ModelError(msg)
    # MONAI's default is instance norm: statistics of each tile, so that a pixel would depend on its tile
    network = BasicUNet(
        spatial_dims=2, in_channels=bands, out_channels=classes, features=widths, norm="batch"
    )
    return AnySize(network, multiple=1)


def _smp_request(architecture: Architecture, *, pretrained: bool) -> tuple[str, dict[str, Any]]:
    weights = {"encoder_weights": "imagenet" if pretrained else None}
    if architecture.arch == "smp":
        name = str(architecture.details.get("model_class"))
        if name not in SMP_CLASSES:
            msg = f"segmentation_models_pytorch model {name!r} is not supported; use one of {', '.join(SMP_CLASSES)}"
            raise ModelError(msg)
        config: Mapping[str, Any] = architecture.details.get("config", {})
        return name, {**config, "encoder_name": architecture.backbone, **weights}
    name = "Unet" if architecture.arch == "unet" else "Segformer"
    details = {key: value for key, value in architecture.details.items() if key != BACKGROUND}
    return name, {"encoder_name": architecture.backbone, **details, **weights}


def _smp_model(model_class: str, config: Mapping[str, Any]) -> nn.Module:
    try:
        library = import_module("segmentation_models_pytorch")
    except ImportError as error:
        msg = (
            f"{model_class} comes from segmentation_models_pytorch, which is not installed: "
            "pip install 'segment-tiles[networks]'"
        )
        raise MissingExtraError(msg) from error
    try:
        network: nn.Module = getattr(library, model_class)(**config)
    except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        msg = f"segmentation_models_pytorch cannot build {model_class} of {dict(config)}: {one_line(error)}"
        raise ModelError(msg) from error
    return network
