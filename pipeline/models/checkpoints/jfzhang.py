"""jfzhang95/pytorch-deeplab-xception: v3+ on all its backbones (modeling/*.py)."""

from __future__ import annotations

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
    rename,
    rename_in_order,
    split_prefix,
)
from segment_tiles.pipeline.models.checkpoints.xception_names import block_rules, separable_rules, stem_rules
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.packages.manifest import Architecture

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
_XCEPTION = [
    *stem_rules(),
    *block_rules("[12]", after_relu=False),
    *block_rules("[3-9]|1[0-9]|20", after_relu=True),
    *(rule for n in (3, 4, 5) for rule in separable_rules(f"conv{n}", f"exit.{n - 3}")),
    *((f"bn{n}", f"exit.{n - 3}.norm") for n in (3, 4, 5)),
]
_FIRST_CONVOLUTION = {"mobilenetv2_100": "features.0.0.weight", "drn_d_54": "layer0.0.weight"}
"""Where it is not conv1."""
_LAST_LAYERS = {
    "decoder.last_conv.8.weight": ("4", "5", "8"),
    "decoder.last_conv.6.weight": ("3", "4", "6"),  # before dropout came between the layers
}


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Say whether the names are jfzhang95's, of modeling/ or of networks/ before it."""
    if _is_early(state):
        return True
    return "aspp.aspp1.atrous_conv.weight" in state and any(last in state for last in _LAST_LAYERS)


def translate(state: Mapping[str, Tensor], options: ImportOptions) -> ImportedWeights:
    """Translate weights of jfzhang95's DeepLabv3+.

    Raises
    ------
    ModelError
        The backbone is not known, or the weights are older than modeling/.
    UsageError
        Another output stride than 8 for DRN.
    """
    if _is_early(state):
        msg = (
            f"{SOURCE}: weights of networks/*.py, from before modeling/*.py, are refused: its versions compute "
            "different functions from the same names; export the network itself, as ONNX or TorchScript, with "
            "the code that trained it"
        )
        raise ModelError(msg)
    last = next(name for name in _LAST_LAYERS if name in state)
    classes = output_classes(state, last, SOURCE)
    conv, norm, classifier = (rf"decoder\.last_conv\.{number}" for number in _LAST_LAYERS[last])
    ends = [(conv, "head.decoder.1.conv"), (norm, "head.decoder.1.norm"), (classifier, "head.classifier")]
    backbone, head = split_prefix(state, "backbone.")
    name = _backbone_name(backbone)
    bands = input_bands(backbone, _FIRST_CONVOLUTION.get(name, "conv1.weight"), SOURCE)
    architecture = _architecture(name, options)
    named = _named_backbone(backbone, architecture, bands, classes)
    default = f"output stride {architecture.output_stride} and rates {architecture.atrous_rates}"
    return ImportedWeights(
        source=SOURCE,
        architecture=architecture,
        bands=bands,
        classes=classes,
        state_dict={**named, **rename(head, [*_HEAD, *ends])},
        assumptions=(f"{default}: jfzhang95's default",),
    )


def _is_early(state: Mapping[str, Tensor]) -> bool:
    return "aspp1.atrous_convolution.weight" in state and any(
        key.startswith(("xception_features.", "resnet_features.")) for key in state
    )


def _backbone_name(backbone: Mapping[str, Tensor]) -> str:
    if is_resnet(backbone):
        return resnet_name(backbone, SOURCE)
    if "features.0.0.weight" in backbone:
        return "mobilenetv2_100"
    if "block20.rep.1.conv1.weight" in backbone:
        return "xception_jfzhang"
    if "layer0.0.weight" in backbone and "layer8.0.weight" in backbone:
        return "drn_d_54"  # the only one that build_backbone takes; another one is refused for its tensors
    found = ", ".join(list(backbone)[:3])
    msg = (
        f"{SOURCE}: the backbone is not known; known are ResNet, MobileNetV2, Xception and DRN-D-54, its tensors "
        f"begin with {found}"
    )
    raise ModelError(msg)


def _architecture(backbone: str, options: ImportOptions) -> Architecture:
    details: dict[str, object] = {"aspp_separable": "none", "decoder_separable": "none", "dropout": 0.5}
    if backbone not in ("mobilenetv2_100", "drn_d_54", "xception_jfzhang"):
        details |= {"dilation": "whole_stage", "multi_grid": MULTI_GRID}
    if backbone == "mobilenetv2_100":
        # mobilenet.py: a stage takes the rate before its own, and pads block inputs
        details |= {"dilation": "next_stage", "pad_expansion": True}
    stride = options.output_stride or (
        8 if backbone == "drn_d_54" else 16
    )  # train.py --out-stride, default 16
    if backbone == "drn_d_54" and stride != 8:
        msg = f"--output-stride {stride}: {SOURCE} runs DRN at 8 whatever is asked (modeling/deeplab.py); leave it out"
        raise UsageError(msg)
    # modeling/aspp.py: dilations by output stride
    rates = options.atrous_rates or ((12, 24, 36) if stride == 8 else (6, 12, 18))
    return Architecture(
        arch="deeplabv3plus",
        backbone=backbone,
        output_stride=stride,
        atrous_rates=rates,
        image_pooling="global",
        align_corners=True,
        details=details,
    )


def _named_backbone(
    backbone: Mapping[str, Tensor], architecture: Architecture, bands: int, classes: int
) -> dict[str, Tensor]:
    if architecture.backbone == "mobilenetv2_100":
        return _mobilenet(_without_copies(backbone), architecture, bands, classes)
    if architecture.backbone == "xception_jfzhang":
        backbone = rename(backbone, _XCEPTION)
    return {f"backbone.{key}": tensor for key, tensor in backbone.items()}


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
