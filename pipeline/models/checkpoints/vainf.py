"""VainF/DeepLabV3Plus-Pytorch: v3 and v3+ on ResNet and MobileNetV2 (network/_deeplab.py, modeling.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.build import build_network
from segment_tiles.pipeline.models.checkpoints.backbone_names import (
    input_bands,
    is_resnet,
    output_classes,
    resnet_name,
)
from segment_tiles.pipeline.models.checkpoints.translation import (
    ImportedWeights,
    ImportOptions,
    pyramid_rules,
    rename,
    rename_in_order,
    split_prefix,
)
from segment_tiles.pipeline.models.manifest import Architecture

SOURCE = "VainF/DeepLabV3Plus-Pytorch"
LOW_CHANNELS = 48
"""Width of the low-level projection, which VainF puts before the ASPP channels, not after."""

_PLUS_HEAD = [
    *pyramid_rules(r"classifier\.aspp"),
    (r"classifier\.project\.0", "head.project_low.conv"),
    (r"classifier\.project\.1", "head.project_low.norm"),
    (r"classifier\.classifier\.0\.body\.0", "head.decoder.0.depthwise"),
    (r"classifier\.classifier\.0(?:\.body\.1)?", "head.decoder.0.conv"),
    (r"classifier\.classifier\.1", "head.decoder.0.norm"),
    (r"classifier\.classifier\.3", "head.classifier"),
]
_V3_HEAD = [
    *pyramid_rules(r"classifier\.classifier\.0"),
    (r"classifier\.classifier\.1", "head.refine.conv"),
    (r"classifier\.classifier\.2", "head.refine.norm"),
    (r"classifier\.classifier\.4", "head.classifier"),
]


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Say whether the names are VainF's."""
    return "classifier.aspp.convs.0.0.weight" in state or "classifier.classifier.0.convs.0.0.weight" in state


def translate(state: Mapping[str, Tensor], options: ImportOptions) -> ImportedWeights:
    """Translate weights of VainF's DeepLabv3 or v3+.

    Raises
    ------
    ModelError
        The backbone is not known: HRNet is not supported.
    """
    plus = "classifier.aspp.convs.0.0.weight" in state
    classes = output_classes(state, f"classifier.classifier.{3 if plus else 4}.weight", SOURCE)
    backbone, head = split_prefix(state, "backbone.")
    stride = options.output_stride or 16  # main.py --output_stride, default 16
    architecture = _architecture(state, backbone, stride, options, plus=plus)
    if is_resnet(backbone):
        bands = input_bands(backbone, "conv1.weight", SOURCE)
        named = {f"backbone.{key}": tensor for key, tensor in backbone.items()}
    else:
        bands = input_bands(backbone, "low_level_features.0.0.weight", SOURCE)
        named = _mobilenet(backbone, architecture, bands, classes)
    renamed = rename(head, _PLUS_HEAD if plus else _V3_HEAD)
    return ImportedWeights(
        source=SOURCE,
        architecture=architecture,
        bands=bands,
        classes=classes,
        state_dict={**named, **(_low_level_last(renamed) if plus else renamed)},
        assumptions=(f"output stride {stride} and rates {architecture.atrous_rates}: VainF's default",),
    )


def _architecture(
    state: Mapping[str, Tensor],
    backbone: Mapping[str, Tensor],
    stride: int,
    options: ImportOptions,
    *,
    plus: bool,
) -> Architecture:
    separable = "plain" if any(".body." in key for key in state) else "none"
    details: dict[str, object] = {"aspp_separable": separable}
    details |= {"decoder_separable": separable, "decoder_convolutions": 1} if plus else {"refine": separable}
    if not is_resnet(backbone):
        if "low_level_features.0.0.weight" not in backbone:
            msg = f"{SOURCE}: the backbone is neither ResNet nor MobileNetV2 (HRNet and Xception are not supported)"
            raise ModelError(msg)
        # mobilenetv2.py: padding 0 in every ConvBNReLU, block inputs padded instead, the stem not at all
        details |= {"pad_expansion": True, "pad_stem": False}
    # modeling.py: aspp_dilate by output stride
    rates = options.atrous_rates or ((12, 24, 36) if stride == 8 else (6, 12, 18))
    return Architecture(
        arch="deeplabv3plus" if plus else "deeplabv3",
        backbone=resnet_name(backbone, SOURCE) if is_resnet(backbone) else "mobilenetv2_100",
        output_stride=stride,
        atrous_rates=rates,
        image_pooling="global",
        details=details,
    )


def _mobilenet(
    backbone: Mapping[str, Tensor], architecture: Architecture, bands: int, classes: int
) -> dict[str, Tensor]:
    chain = {re.sub(r"^(low|high)_level_", "", key): tensor for key, tensor in backbone.items()}
    expected = build_network(architecture, bands, classes).state_dict()
    ours = {key: tensor for key, tensor in expected.items() if key.startswith("backbone.")}
    return rename_in_order(chain, ours, f"{SOURCE} MobileNetV2")


def _low_level_last(head: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reorder the decoder's input channels: VainF joins (low, ASPP), we join (ASPP, low) as TensorFlow."""
    for name in ("head.decoder.0.depthwise.weight", "head.decoder.0.conv.weight"):
        weight = head.get(name)
        if weight is None:
            continue
        # a depthwise kernel has its channels first, any other has its inputs second
        axis = 0 if name.endswith("depthwise.weight") else 1
        context_channels = weight.shape[axis] - LOW_CHANNELS
        low, context = torch.split(weight, [LOW_CHANNELS, context_channels], dim=axis)
        head[name] = torch.cat([context, low], dim=axis)
    return head
