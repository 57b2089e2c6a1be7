"""VainF/DeepLabV3Plus-Pytorch: v3 and v3+ on all its backbones (network/_deeplab.py, modeling.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from segment_tiles.pipeline.errors import ModelError, UsageError
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
from segment_tiles.pipeline.models.checkpoints.xception_names import block_rules, separable_rules, stem_rules
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.packages.manifest import Architecture

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
_HRNET = [
    # only the branch that a transition adds has weights; timm counts the others too
    (r"transition2\.(\d+)", r"transition2.2.0.\1"),
    (r"transition3\.(\d+)", r"transition3.3.0.\1"),
]
_XCEPTION = [
    *stem_rules(),
    *block_rules("1", after_relu=False),
    *block_rules("[2-9]|1[0-2]", after_relu=True),
    *separable_rules("conv3", "exit.0"),
    ("bn3", "exit.0.norm"),
    *separable_rules("conv4", "exit.1"),
]
_FIRST_CONVOLUTION = {"mobilenetv2_100": "low_level_features.0.0.weight"}
"""Where it is not conv1."""


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Say whether the names are VainF's."""
    return "classifier.aspp.convs.0.0.weight" in state or "classifier.classifier.0.convs.0.0.weight" in state


def translate(state: Mapping[str, Tensor], options: ImportOptions) -> ImportedWeights:
    """Translate weights of VainF's DeepLabv3 or v3+.

    Raises
    ------
    ModelError
        The backbone is not known.
    UsageError
        An output stride for HRNet, which has none to choose.
    """
    plus = "classifier.aspp.convs.0.0.weight" in state
    classes = output_classes(state, f"classifier.classifier.{3 if plus else 4}.weight", SOURCE)
    backbone, head = split_prefix(state, "backbone.")
    name = _backbone_name(backbone)
    bands = input_bands(backbone, _FIRST_CONVOLUTION.get(name, "conv1.weight"), SOURCE)
    architecture = _architecture(state, name, options, plus=plus)
    renamed = rename(head, _PLUS_HEAD if plus else _V3_HEAD)
    return ImportedWeights(
        source=SOURCE,
        architecture=architecture,
        bands=bands,
        classes=classes,
        state_dict={
            **_named_backbone(backbone, architecture, bands, classes),
            **(_low_level_last(renamed) if plus else renamed),
        },
        assumptions=_assumptions(architecture),
    )


def _backbone_name(backbone: Mapping[str, Tensor]) -> str:
    if is_resnet(backbone):
        return resnet_name(backbone, SOURCE)
    if "low_level_features.0.0.weight" in backbone:
        return "mobilenetv2_100"
    if "block1.rep.0.conv1.weight" in backbone:
        return "xception_vainf"
    branch = backbone.get("stage4.0.branches.0.0.conv1.weight")
    if branch is not None and branch.shape[0] in (32, 48):
        return f"hrnetv2_{branch.shape[0]}"
    found = ", ".join(list(backbone)[:3])
    msg = (
        f"{SOURCE}: the backbone is not known; known are ResNet, MobileNetV2, Xception, HRNetV2-32 and "
        f"HRNetV2-48, its tensors begin with {found}"
    )
    raise ModelError(msg)


def _architecture(
    state: Mapping[str, Tensor], backbone: str, options: ImportOptions, *, plus: bool
) -> Architecture:
    separable = "plain" if any(".body." in key for key in state) else "none"
    details: dict[str, object] = {"aspp_separable": separable}
    details |= {"decoder_separable": separable, "decoder_convolutions": 1} if plus else {"refine": separable}
    if backbone == "mobilenetv2_100":
        # mobilenetv2.py: padding 0 in every ConvBNReLU, block inputs padded instead, the stem not at all
        details |= {"pad_expansion": True, "pad_stem": False}
    high_resolution = backbone.startswith("hrnetv2_")
    if high_resolution:
        # utils.py, IntermediateLayerGetter: conv1, bn1, conv2, bn2, relu, as hrnetv2.py makes them
        details |= {"stem_relu": False}
    if high_resolution and options.output_stride is not None:
        msg = (
            f"--output-stride {options.output_stride}: {SOURCE} has no output stride for HRNet, whose features "
            "come at stride 4; leave it out"
        )
        raise UsageError(msg)
    stride = 32 if high_resolution else options.output_stride or 16  # main.py --output_stride, default 16
    # modeling.py: aspp_dilate by output stride, and (12, 24, 36) for HRNet
    rates = options.atrous_rates or ((12, 24, 36) if high_resolution or stride == 8 else (6, 12, 18))
    return Architecture(
        arch="deeplabv3plus" if plus else "deeplabv3",
        backbone=backbone,
        output_stride=stride,
        atrous_rates=rates,
        image_pooling="global",
        details=details,
    )


def _assumptions(architecture: Architecture) -> tuple[str, ...]:
    rates, stride = architecture.atrous_rates, architecture.output_stride
    if architecture.backbone.startswith("hrnetv2_"):
        return (f"rates {rates}: VainF's default for HRNet",)
    default = f"output stride {stride} and rates {rates}: VainF's default"
    if architecture.backbone == "xception_vainf":
        return (
            default,
            "VainF's Xception crops its last features and stretches them over the tile: --tile is the side of "
            "the training crop, or the nearest multiple of the output stride",
        )
    return (default,)


def _named_backbone(
    backbone: Mapping[str, Tensor], architecture: Architecture, bands: int, classes: int
) -> dict[str, Tensor]:
    if architecture.backbone == "mobilenetv2_100":
        chain = {re.sub(r"^(low|high)_level_", "", key): tensor for key, tensor in backbone.items()}
        expected = build_network(architecture, bands, classes).state_dict()
        ours = {key: tensor for key, tensor in expected.items() if key.startswith("backbone.")}
        return rename_in_order(chain, ours, f"{SOURCE} MobileNetV2")
    if architecture.backbone == "xception_vainf":
        backbone = rename(backbone, _XCEPTION)
    elif architecture.backbone.startswith("hrnetv2_"):
        backbone = rename(backbone, _HRNET)
    return {f"backbone.{key}": tensor for key, tensor in backbone.items()}


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
