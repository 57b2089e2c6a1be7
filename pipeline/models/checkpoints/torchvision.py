"""torchvision's deeplabv3_resnet50, _resnet101 and _mobilenet_v3_large (models/segmentation/deeplabv3.py)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

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
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.packages.manifest import Architecture

SOURCE = "torchvision"
RATES = (12, 24, 36)
"""Default of DeepLabHead, also for MobileNet at output stride 16."""

_HEAD = [
    *pyramid_rules("0"),
    ("1", "head.refine.conv"),
    ("2", "head.refine.norm"),
    ("4", "head.classifier"),
]
_HEAD_DETAILS = {
    "aspp_separable": "none",
    "refine": "none",
    "dropout": 0.5,
}


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Say whether the names are torchvision's."""
    return "classifier.0.convs.0.0.weight" in state and "classifier.4.weight" in state


def translate(state: Mapping[str, Tensor], options: ImportOptions) -> ImportedWeights:
    """Translate weights of a torchvision DeepLabv3.

    Raises
    ------
    ModelError
        The backbone is not known.
    """
    kept, dropped = _without_auxiliary(state)
    backbone, rest = split_prefix(kept, "backbone.")
    head, rest = split_prefix(rest, "classifier.")
    classes = output_classes(state, "classifier.4.weight", SOURCE)
    if is_resnet(backbone):
        bands = input_bands(backbone, "conv1.weight", SOURCE)
        stride = options.output_stride or 8  # _deeplabv3_resnet: replace_stride_with_dilation (F, T, T)
        architecture = _architecture(resnet_name(backbone, SOURCE), stride, options, {})
        named = {f"backbone.{key}": tensor for key, tensor in backbone.items()}
    else:
        bands = input_bands(backbone, "0.0.weight", SOURCE)
        stride = options.output_stride or 16  # mobilenet_v3_large(dilated=True): only C5 is dilated
        details = {"dilation": "whole_stage", "backbone_batch_norm_epsilon": 1e-3}  # mobilenetv3.py
        architecture = _architecture("mobilenetv3_large_100", stride, options, details)
        expected = build_network(architecture, bands, classes).state_dict()
        chain = {key: tensor for key, tensor in expected.items() if key.startswith("backbone.")}
        named = rename_in_order(backbone, chain, f"{SOURCE} MobileNetV3-Large")
    return ImportedWeights(
        source=SOURCE,
        architecture=architecture,
        bands=bands,
        classes=classes,
        state_dict={**named, **rename(head, _HEAD), **rest},
        assumptions=(f"output stride {stride} and rates {architecture.atrous_rates}: torchvision's own",),
        dropped=dropped,
    )


def _without_auxiliary(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Set the auxiliary classifier aside: it adds a loss in training and nothing to the result."""
    auxiliary, kept = split_prefix(state, "aux_classifier.")
    return kept, tuple(f"aux_classifier.{key}" for key in auxiliary)


def _architecture(
    backbone: str, stride: int, options: ImportOptions, details: Mapping[str, object]
) -> Architecture:
    return Architecture(
        arch="deeplabv3",
        backbone=backbone,
        output_stride=stride,
        atrous_rates=options.atrous_rates or RATES,
        image_pooling="global",
        details={**_HEAD_DETAILS, **details},
    )
