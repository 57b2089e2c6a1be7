"""segmentation_models_pytorch: folders of ``save_pretrained``, and bare weights of DeepLabV3 and V3Plus."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from segment_tiles.pipeline.errors import ModelError, one_line
from segment_tiles.pipeline.models.checkpoints.backbone_names import (
    input_bands,
    is_resnet,
    output_classes,
    resnet_name,
)
from segment_tiles.pipeline.models.checkpoints.reading import read_state_dict
from segment_tiles.pipeline.models.checkpoints.translation import (
    IMAGENET,
    ImportedWeights,
    ImportOptions,
    Statistics,
    pyramid_rules,
    rename,
    rename_in_order,
    split_prefix,
)
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.networks.comparison import SMP_CLASSES
from segment_tiles.pipeline.models.packages.manifest import Architecture

SOURCE = "segmentation_models_pytorch"
CONFIG_FILE = "config.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
RATES = (12, 24, 36)
"""SMP's default at every output stride, also at 16 where the paper has half of it."""

_OTHER_STATISTICS = ("xception", "inception", "dpn")
"""Encoders whose ImageNet weights were trained with other values than ImageNet's mean and standard deviation."""
_COMMON = [(r"segmentation_head\.0", "head.classifier")]
_PLUS_HEAD = [
    *_COMMON,
    *pyramid_rules(r"decoder\.aspp\.0"),
    (r"decoder\.aspp\.1\.0", "head.refine.depthwise"),
    (r"decoder\.aspp\.1\.1", "head.refine.conv"),
    (r"decoder\.aspp\.2", "head.refine.norm"),
    (r"decoder\.block1\.0", "head.project_low.conv"),
    (r"decoder\.block1\.1", "head.project_low.norm"),
    (r"decoder\.block2\.0\.0", "head.decoder.0.depthwise"),
    (r"decoder\.block2\.0\.1", "head.decoder.0.conv"),
    (r"decoder\.block2\.1", "head.decoder.0.norm"),
]
_V3_HEAD = [
    *_COMMON,
    *pyramid_rules(r"decoder\.(?:aspp|0)"),  # the decoder was a Sequential once
    (r"decoder\.(?:conv|1)", "head.refine.conv"),
    (r"decoder\.(?:bn|2)", "head.refine.norm"),
]


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Say whether the names are those of SMP's DeepLabV3 or DeepLabV3Plus."""
    heads = ("decoder.aspp.0.convs", "decoder.aspp.convs", "decoder.0.convs")
    return any(f"{head}.0.0.weight" in state for head in heads)


def is_folder(path: Path) -> bool:
    """Say whether a folder was written by ``save_pretrained`` of SMP."""
    return (path / CONFIG_FILE).is_file() and any((path / name).is_file() for name in WEIGHT_FILES)


def translate_folder(folder: Path) -> ImportedWeights:
    """Translate a folder of ``save_pretrained``.

    Raises
    ------
    ModelError
        The configuration is damaged or asks for something that is not supported.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        name, encoder = str(config["_model_class"]), str(config["encoder_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not a configuration of {SOURCE}: {one_line(error)}"
        raise ModelError(msg) from error
    weights = next(folder / file for file in WEIGHT_FILES if (folder / file).is_file())
    state = read_state_dict(weights)
    if name not in SMP_CLASSES:
        msg = f"{path}: model {name!r} is not supported; supported are {', '.join(SMP_CLASSES)}"
        raise ModelError(msg)
    _check_activation(config, path)
    if name in ("DeepLabV3", "DeepLabV3Plus") and _is_own(encoder):
        imported = _translate_deeplab(state, _checked_config(config, path), assumptions=())
    else:
        imported = _keep_library(state, name, encoder, config)
    return replace(imported, statistics=_statistics(encoder, config.get("encoder_weights")))


def translate(state: Mapping[str, Tensor], options: ImportOptions) -> ImportedWeights:
    """Translate bare weights of SMP's DeepLabV3 or DeepLabV3Plus.

    Raises
    ------
    ModelError
        The encoder is not known.
    """
    plus = "decoder.aspp.0.convs.0.0.weight" in state
    stride = options.output_stride or (16 if plus else 8)
    rates = options.atrous_rates or RATES
    config = {"encoder_output_stride": stride, "decoder_atrous_rates": rates}
    assumption = f"output stride {stride} and rates {tuple(rates)}: SMP's default"
    return _translate_deeplab(state, config, assumptions=(assumption,))


def _statistics(encoder: str, weights: object) -> Statistics | None:
    """Return what the encoder was trained with before, which SMP's users keep to (get_preprocessing_params)."""
    if encoder.startswith("tu-"):
        from timm.models import get_pretrained_cfg  # noqa: PLC0415 - seconds to import

        name = encoder.removeprefix("tu-")
        known = get_pretrained_cfg(name)
        if known is None or (tuple(known.mean), tuple(known.std)) == (IMAGENET.mean, IMAGENET.std):
            return IMAGENET
        return Statistics(tuple(known.mean), tuple(known.std), f"those of timm's {name}")
    own = encoder.startswith(_OTHER_STATISTICS) or weights == "advprop"
    return None if own else IMAGENET


def _is_own(encoder: str) -> bool:
    return encoder.startswith(("resnet", "resnext", "tu-")) or encoder == "mobilenet_v2"


def _checked_config(config: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    plus = config["_model_class"] == "DeepLabV3Plus"
    allowed: dict[str, tuple[object, ...]] = {
        "encoder_depth": (5,),
        "upsampling": (4, None) if plus else (config.get("encoder_output_stride", 8), None),
    }
    for name, values in allowed.items():
        if config.get(name, values[0]) not in values:
            msg = f"{path}: {name} is {config[name]}; only {values[0]} is supported{_sizes(name, config, values[0])}"
            raise ModelError(msg)
    return config


def _sizes(name: str, config: Mapping[str, Any], usual: object) -> str:
    """Say which size an upsampling gives instead of the input's."""
    factor = config[name]
    if name != "upsampling" or not isinstance(factor, int | float) or not isinstance(usual, int):
        return ""
    side = 512 * factor / usual
    return f", since the output would be {side:g} x {side:g} px for an input of 512 x 512"


def _check_activation(config: Mapping[str, Any], path: Path) -> None:
    """Refuse an activation other than what logits are read by: softmax, or sigmoid of one output.

    The weights give logits whatever the activation is: SMP applies it after them, in the same module.
    """
    activation, count = config.get("activation"), int(config.get("classes") or 1)
    many = ("softmax", "softmax2d", "logsoftmax", "argmax", "argmax2d")
    if activation in (None, "identity") or activation in (("sigmoid",) if count == 1 else many):
        return
    if activation == "sigmoid":
        msg = (
            f"{path}: activation is sigmoid for {count} classes, which may overlap (multi-label); one class for each "
            "pixel is needed: softmax, or a network of one output"
        )
    else:
        msg = (
            f"{path}: activation is {activation!r} for {count} classes; none, "
            f"{'sigmoid' if count == 1 else 'softmax'} is needed"
        )
    raise ModelError(msg)


def _translate_deeplab(
    state: Mapping[str, Tensor], config: Mapping[str, Any], *, assumptions: tuple[str, ...]
) -> ImportedWeights:
    auxiliary, kept = split_prefix(state, "classification_head.")
    encoder, head = split_prefix(kept, "encoder.")
    plus = "decoder.aspp.0.convs.0.0.weight" in state
    classes = output_classes(state, "segmentation_head.0.weight", SOURCE)
    name, first, details = _encoder(encoder, config)
    bands = int(config["in_channels"]) if first is None else input_bands(encoder, first, SOURCE)
    architecture = _architecture(state, config, name, details, plus=plus)
    expected = build_network(architecture, bands, classes).state_dict()
    named = _name_encoder(encoder, expected)
    return ImportedWeights(
        source=SOURCE,
        architecture=architecture,
        bands=bands,
        classes=classes,
        state_dict={**named, **rename(head, _PLUS_HEAD if plus else _V3_HEAD)},
        assumptions=assumptions,
        dropped=tuple(f"classification_head.{key}" for key in auxiliary),
    )


def _encoder(
    encoder: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[str, str | None, dict[str, object]]:
    """Return timm's name, the first convolution if it is known, and how the encoder differs from timm's."""
    configured = str(config.get("encoder_name", ""))
    if configured.startswith("tu-"):
        return configured.removeprefix("tu-"), None, {}
    # SMP's own encoders dilate every block of a stage (encoders/_utils.py)
    if is_resnet(encoder):
        return resnet_name(encoder, SOURCE), "conv1.weight", {"dilation": "whole_stage"}
    if "features.18.0.weight" in encoder:
        width = int(encoder["features.18.0.weight"].shape[0])
        details = {"dilation": "whole_stage", "final_convolution": width}
        return "mobilenetv2_100", "features.0.0.weight", details
    msg = (
        f"{SOURCE}: the encoder of these weights is not known ({', '.join(list(encoder)[:3])}, ...); "
        "give the folder that save_pretrained wrote"
    )
    raise ModelError(msg)


def _architecture(
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    backbone: str,
    details: Mapping[str, object],
    *,
    plus: bool,
) -> Architecture:
    pyramid = (
        "decoder.aspp.0" if plus else ("decoder.aspp" if "decoder.conv.weight" in state else "decoder.0")
    )
    separable = "plain" if f"{pyramid}.convs.1.0.0.weight" in state else "none"
    head: dict[str, object] = {
        "aspp_separable": separable,
        "channels": int(state["segmentation_head.0.weight"].shape[1]),
        "dropout": float(config.get("decoder_aspp_dropout", 0.5)),
        # v3+: a separable 3x3 before the decoder and one in it; v3: a full 3x3 after ASPP
        **(
            {"refine": "plain", "decoder_separable": "plain", "decoder_convolutions": 1}
            if plus
            else {"refine": "none"}
        ),
    }
    return Architecture(
        arch="deeplabv3plus" if plus else "deeplabv3",
        backbone=backbone,
        output_stride=int(config.get("encoder_output_stride", 16 if plus else 8)),
        atrous_rates=tuple(int(rate) for rate in config.get("decoder_atrous_rates", RATES)),
        image_pooling="global",
        align_corners=True,
        details={**head, **details},
    )


def _name_encoder(encoder: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    ours = {key: tensor for key, tensor in expected.items() if key.startswith("backbone.")}
    if "features.0.0.weight" in encoder:
        return rename_in_order(encoder, ours, f"{SOURCE} MobileNetV2")
    if is_resnet(encoder):
        return {f"backbone.{key}": tensor for key, tensor in encoder.items()}
    # a timm encoder: encoder.model.*. Where hooks take its features, blocks.0 is written blocks_0, and ours,
    # which avoids hooks, has backbone.model.* instead of backbone.*
    nested = any(key.startswith("backbone.model.") for key in ours)
    prefix = "backbone.model." if nested else "backbone."
    plain = {key.removeprefix("model."): tensor for key, tensor in encoder.items()}
    if nested:
        plain = {re.sub(r"^([a-z]+)_(\d+)\.", r"\1.\2.", key): tensor for key, tensor in plain.items()}
    return {f"{prefix}{key}": tensor for key, tensor in plain.items()}


def _keep_library(
    state: Mapping[str, Tensor], name: str, encoder: str, config: Mapping[str, Any]
) -> ImportedWeights:
    """Run a model that is not of our family, or on an encoder of SMP's own, through SMP itself."""
    left_out = {"encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params"}
    auxiliary, kept = split_prefix(state, "classification_head.")
    settings = {
        k: v for k, v in config.items() if k not in left_out and not k.startswith("_") and v is not None
    }
    return ImportedWeights(
        source=SOURCE,
        architecture=Architecture(
            arch="smp",
            backbone=encoder,
            output_stride=32,  # sides that every encoder takes; overlaps follow it
            details={"model_class": name, "config": settings},
        ),
        bands=int(config.get("in_channels", 3)),
        classes=int(config.get("classes", 1)),
        state_dict={f"network.{key}": tensor for key, tensor in kept.items()},
        assumptions=("run by segmentation_models_pytorch itself: the extra 'networks' stays needed",),
        dropped=tuple(f"classification_head.{key}" for key in auxiliary),
    )
