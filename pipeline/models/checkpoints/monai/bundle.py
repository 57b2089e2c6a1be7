"""MONAI bundles: metadata, network and weights, read without evaluating an expression.

::

    bundle/
      configs/metadata.json           classes, channels, size of the input
      configs/inference.json (.yaml)  network_def: a class of monai.networks.nets and its settings
      models/model.pt                 weights

A bundle's configuration is a program: a string that starts with ``$`` is Python, ``@`` refers to another
entry, ``%`` copies from a file. Only plain values are read here. ``--trust`` lets MONAI resolve the rest of
``network_def`` once, when the bundle is imported; what comes out must be plain values again, and these alone
stand in the model package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from torch import Tensor

from segment_tiles.pipeline.errors import ModelError, one_line
from segment_tiles.pipeline.models.checkpoints.answers import check_answer
from segment_tiles.pipeline.models.checkpoints.monai.postprocessing import read_postprocessing
from segment_tiles.pipeline.models.checkpoints.monai.preprocessing import Preprocessing, read_preprocessing
from segment_tiles.pipeline.models.checkpoints.reading import read_state_dict, without_common_prefix
from segment_tiles.pipeline.models.networks.comparison import BACKGROUND
from segment_tiles.pipeline.models.networks.monai_networks import (
    MONAI,
    build_monai,
    check_network,
    side_multiple,
)
from segment_tiles.pipeline.models.packages.manifest import Architecture
from segment_tiles.pipeline.models.packages.weights import load_exactly

METADATA: Final = Path("configs") / "metadata.json"
CONFIGURATIONS: Final = ("inference", "train", "evaluate")
SUFFIXES: Final = (".json", ".yaml", ".yml")
NETWORK_KEYS: Final = ("network_def", "network")
WEIGHTS: Final = ("models/model.safetensors", "models/model.pt")
MARKS: Final = ("$", "@", "%")
"""First letters of strings that are more than themselves."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle says, in plain values."""

    name: str
    version: str
    architecture: Architecture
    state_dict: Mapping[str, Tensor]
    bands: int
    outputs: int
    """Channels of its network; of one, the architecture makes background and class."""
    classes: tuple[str, ...]
    """Names of the output channels, or of background and the one channel; empty if the metadata has none."""
    tile: int | None
    """Side of the input, if it is a plain number."""
    preprocessing: Preprocessing
    """What its transforms do to values, if that is plain."""
    assumptions: tuple[str, ...] = ()


def is_bundle(path: Path) -> bool:
    """Return whether a folder is a MONAI bundle."""
    return (path / METADATA).is_file()


def read_bundle(path: Path, *, trust: bool = False) -> Bundle:
    """Read a bundle.

    Parameters
    ----------
    path
        Its folder.
    trust
        Let MONAI evaluate expressions of the network's definition: they are Python and may do anything.

    Raises
    ------
    ModelError
        A file is absent or damaged, the network is not on the list, not of two dimensions, defined by an
        expression that is not trusted, or the weights are not its own.
    """
    metadata = _read_mapping(path / METADATA)
    configuration = _configuration(path)
    name, arguments = _network(path, configuration, trust=trust)
    check_network(name, arguments)
    bands, outputs = (_count(path, arguments, name) for name in ("in_channels", "out_channels"))
    not_done = read_postprocessing(configuration, path, outputs=outputs)
    details: dict[str, Any] = {"arguments": arguments}
    if outputs == 1:
        details[BACKGROUND] = True
    multiple = side_multiple(arguments)
    architecture = Architecture(MONAI, name, output_stride=multiple, details=details)
    classes = max(outputs, 2)
    network = build_monai(architecture, bands, classes)
    state = _fitting(_weights(path), network.state_dict())
    load_exactly(network, state, str(path))
    check_answer(network, path, bands=bands, classes=classes, side=2 * multiple)
    return Bundle(
        str(metadata.get("name", path.name)),
        str(metadata.get("version", "")),
        architecture,
        state,
        bands,
        outputs,
        _class_names(metadata, outputs),
        _tile(metadata),
        read_preprocessing(configuration),
        (*_assumptions(arguments), *not_done),
    )


def _network(path: Path, configuration: Mapping[str, Any], *, trust: bool) -> tuple[str, dict[str, Any]]:
    """Return the class name and the literal settings of the network."""
    key = next((key for key in NETWORK_KEYS if key in configuration), None)
    if key is None:
        msg = f"{path}: its configuration has no {' or '.join(NETWORK_KEYS)}; found {', '.join(configuration)[:120]}"
        raise ModelError(msg)
    definition = configuration[key]
    found = _marked(definition)
    if found is not None:
        if not trust:
            msg = (
                f"{path}: {key} holds the expression {found!r}, which is a program; only plain values are read: say "
                "--trust to let MONAI evaluate it now, if you trust the bundle"
            )
            raise ModelError(msg)
        definition = _resolved(path, configuration, key)
    if not isinstance(definition, Mapping) or not isinstance(definition.get("_target_"), str):
        msg = f"{path}: {key} names no class as _target_; a class of monai.networks.nets is needed"
        raise ModelError(msg)
    target = str(definition["_target_"])
    module, _, name = target.rpartition(".")
    if module and not (module + ".").startswith("monai.networks.nets."):
        msg = f"{path}: {key} is {target}; only classes of monai.networks.nets are built, nothing else is imported"
        raise ModelError(msg)
    arguments = {name: value for name, value in definition.items() if not name.startswith("_")}
    _check_literal(path, key, arguments)
    return name, arguments


def _resolved(path: Path, configuration: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Let MONAI evaluate the definition, without building the network."""
    from monai.bundle.config_parser import ConfigParser  # noqa: PLC0415 - seconds to import

    try:
        component = ConfigParser(dict(configuration)).get_parsed_content(key, instantiate=False)
        return {"_target_": component.resolve_module_name(), **component.resolve_args()}
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        NameError,
        RuntimeError,
        ImportError,
        OSError,
    ) as error:
        msg = f"{path}: MONAI cannot evaluate {key}: {one_line(error)}"
        raise ModelError(msg) from error


def _marked(value: object) -> str | None:
    """Return the first string in a nested value that is more than itself."""
    if isinstance(value, str):
        return value if value.startswith(MARKS) else None
    parts = (
        value.items() if isinstance(value, Mapping) else enumerate(value if isinstance(value, list) else [])
    )
    for key, part in parts:
        found = _marked(part) or (_marked(key) if isinstance(key, str) else None)
        if found is not None:
            return found
    return None


def _check_literal(path: Path, key: str, value: object) -> None:
    try:
        json.dumps(value)  # noqa: TID251 - a check, the text is thrown away
    except (TypeError, ValueError) as error:
        msg = f"{path}: {key} has settings that are no plain values ({one_line(error)})"
        raise ModelError(msg) from error


def _configuration(path: Path) -> dict[str, Any]:
    for name in CONFIGURATIONS:
        for suffix in SUFFIXES:
            file = path / "configs" / f"{name}{suffix}"
            if file.is_file():
                return _read_mapping(file)
    msg = f"{path}: has no configuration; configs/inference.json or .yaml with a network_def is needed"
    raise ModelError(msg)


def _read_mapping(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        msg = f"{file} cannot be read: {one_line(error)}"
        raise ModelError(msg) from error
    if not isinstance(content, dict):
        msg = f"{file} holds a {type(content).__name__}; a mapping is needed"
        raise ModelError(msg)
    return content


def _weights(path: Path) -> Mapping[str, Tensor]:
    for name in WEIGHTS:
        if (path / name).is_file():
            return read_state_dict(path / name)
    msg = (
        f"{path}: has no {' or '.join(WEIGHTS)}; a program such as models/model.ts is imported by its own path: "
        "segment-tiles model import BUNDLE/models/model.ts --trust"
    )
    raise ModelError(msg)


def _fitting(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights the names of the network: reading strips what all names begin with.

    Names that the network has not stay as they are; loading says which.
    """
    full = dict(zip(without_common_prefix(dict(expected)), expected, strict=True))
    return {full.get(name, name): tensor for name, tensor in weights.items()}


def _count(path: Path, arguments: Mapping[str, Any], name: str) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or value < 1:
        msg = f"{path}: its network has {name} {value!r}; a whole number from 1 is needed"
        raise ModelError(msg)
    return value


def _class_names(metadata: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Return the names of the output channels, if the metadata names all of them.

    Of a network of one output, many name the background as well.
    """
    try:
        channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
        count = len(channels) if count == 1 and len(channels) == 2 else count
        names = tuple(str(channels[str(code)]) for code in range(count))
    except (KeyError, TypeError):
        return ()
    return names if len(set(names)) == count else ()


def _tile(metadata: Mapping[str, Any]) -> int | None:
    try:
        shape = metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    except (KeyError, TypeError):
        return None
    plain = isinstance(shape, list) and all(isinstance(side, int) and side > 0 for side in shape)
    return max(shape) if plain and shape else None


def _assumptions(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    norm = arguments.get("norm", "instance")
    name = norm[0] if isinstance(norm, list) and norm else norm
    if str(name).lower() in {"batch", "group", "layer"}:
        return ()
    return (
        f"norm {name}: its statistics are those of a tile, so that a pixel depends a little on its tile; "
        "a network trained with batch norm does not",
    )
