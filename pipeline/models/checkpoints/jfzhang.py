"""jfzhang95/pytorch-deeplab-xception: v3+ on ResNet-101 and MobileNetV2 (modeling/*.py)."""

from __future__ import annotations

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
    rename,
    rename_in_order,
    split_prefix,
)
from segment_tiles.pipeline.models.manifest import Architecture

SOURCE = "jfzhang95/pytorch-deeplab-xception"
MULTI_GRID = (1, 2, 4)
"""Of layer4, always (modeling/backbone/resnet.py)."""

_HEAD = [
    (r"aspp\.aspp1\.atrous_conv", "head.pyramid.branches.0.conv"),
    (r"aspp\.aspp1\.bn", "head.pyramid.branches.0.norm"),
    (r"aspp\.aspp2\.atrous_conv", "head.pyramid.branches.1.conv"),
    (r"aspp\.aspp2\.bn", "head.pyramid.branches.1.norm"),
    (r"aspp\.aspp3\.atrous_conv", "head.pyramid.branches.2.conv"),
    (r"aspp\.aspp3\.bn", "head.pyramid.branches.2.norm"),
    (r"aspp\.aspp4\.atrous_conv", "head.pyramid.branches.3.conv"),
    (r"aspp\.aspp4\.bn", "head.pyramid.branches.3.norm"),
    (r"aspp\.global_avg_pool\.1", "head.pyramid.pooling.conv"),
    (r"aspp\.global_avg_pool\.2", "head.pyramid.pooling.norm"),
    (r"aspp\.conv1", "head.pyramid.project.conv"),
    (r"aspp\.bn1", "head.pyramid.project.norm"),
    (r"decoder\.conv1", "head.project_low.conv"),
    (r"decoder\.bn1", "head.project_low.norm"),
    (r"decoder\.last_conv\.0", "head.decoder.0.conv"),
    (r"decoder\.last_conv\.1", "head.decoder.0.norm"),
]
_LAST_LAYERS = {
    "decoder.last_conv.8.weight": ("4", "5", "8"),
    "decoder.last_conv.6.weight": ("3", "4", "6"),  # before dropout came between the layers
}


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Say whether the names are jfzhang95's."""
    return "aspp.aspp1.atrous_conv.weight" in state and any(last in state for last in _LAST_LAYERS)


def translate(state: Mapping[str, Tensor], options: ImportOptions) -> ImportedWeights:
    """Translate weights of jfzhang95's DeepLabv3+.

    Raises
    ------
    ModelError
        The backbone is his Xception or DRN, for which there are no published weights.
    """
    last = next(name for name in _LAST_LAYERS if name in state)
    classes = output_classes(state, last, SOURCE)
    conv, norm, classifier = (rf"decoder\.last_conv\.{number}" for number in _LAST_LAYERS[last])
    ends = [(conv, "head.decoder.1.conv"), (norm, "head.decoder.1.norm"), (classifier, "head.classifier")]
    backbone, head = split_prefix(state, "backbone.")
    stride = options.output_stride or 16  # train.py --out-stride, default 16
    architecture = _architecture(backbone, stride, options)
    if is_resnet(backbone):
        bands = input_bands(backbone, "conv1.weight", SOURCE)
        named = {f"backbone.{key}": tensor for key, tensor in backbone.items()}
    else:
        bands = input_bands(backbone, "features.0.0.weight", SOURCE)
        named = _mobilenet(_without_copies(backbone), architecture, bands, classes)
    return ImportedWeights(
        source=SOURCE,
        architecture=architecture,
        bands=bands,
        classes=classes,
        state_dict={**named, **rename(head, [*_HEAD, *ends])},
        assumptions=(f"output stride {stride} and rates {architecture.atrous_rates}: jfzhang95's default",),
    )


def _architecture(backbone: Mapping[str, Tensor], stride: int, options: ImportOptions) -> Architecture:
    details: dict[str, object] = {"aspp_separable": "none", "decoder_separable": "none", "dropout": 0.5}
    if is_resnet(backbone):
        name = resnet_name(backbone, SOURCE)
        details |= {"dilation": "whole_stage", "multi_grid": MULTI_GRID}
    elif "features.0.0.weight" in backbone:
        name = "mobilenetv2_100"
        # mobilenet.py: a stage takes the rate before its own, and pads block inputs
        details |= {"dilation": "next_stage", "pad_expansion": True}
    else:
        msg = (
            f"{SOURCE}: the backbone is neither ResNet nor MobileNetV2; his Xception and DRN are not supported "
            "(no weights of them were published)"
        )
        raise ModelError(msg)
    # modeling/aspp.py: dilations by output stride
    rates = options.atrous_rates or ((12, 24, 36) if stride == 8 else (6, 12, 18))
    return Architecture(
        arch="deeplabv3plus",
        backbone=name,
        output_stride=stride,
        atrous_rates=rates,
        image_pooling="global",
        align_corners=True,
        details=details,
    )


def _without_copies(backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out low_level_features and high_level_features: slices of features, saved twice.

    Raises
    ------
    ModelError
        A copy differs from its original, so that it cannot be told which one counts.
    """
    kept: dict[str, Tensor] = {}
    for key, tensor in backbone.items():
        original = key.replace("low_level_features.", "features.").replace(
            "high_level_features.", "features."
        )
        if original == key:
            kept[key] = tensor
        elif original not in backbone or not torch.equal(backbone[original], tensor):
            msg = f"{SOURCE}: backbone.{key} differs from backbone.{original}, whose copy it should be"
            raise ModelError(msg)
    return kept


def _mobilenet(
    chain: Mapping[str, Tensor], architecture: Architecture, bands: int, classes: int
) -> dict[str, Tensor]:
    expected = build_network(architecture, bands, classes).state_dict()
    ours = {key: tensor for key, tensor in expected.items() if key.startswith("backbone.")}
    return rename_in_order(chain, ours, f"{SOURCE} MobileNetV2")
