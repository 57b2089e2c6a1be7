"""A traced network as a file of plain data: its steps as JSON, its tensors as safetensors; nothing in it is executed.

What it may consist of is listed here: layers of torch, and functions that compute. A network with any other step
is refused, and its builder is needed whenever it runs.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, fx, nn
from torch.nn import functional as F

from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.models.graphs.plain_layers import SamePadding, plain_layer

STEPS_FILE: Final = "steps.json"
TENSORS_FILE: Final = "tensors.safetensors"

LAYERS: Final[Mapping[type[nn.Module], tuple[str, ...]]] = {
    nn.Conv2d: (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "groups",
        "padding_mode",
    ),
    nn.BatchNorm2d: ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.ReLU: ("inplace",),
    nn.ReLU6: ("inplace",),
    nn.Hardswish: ("inplace",),
    nn.Hardsigmoid: ("inplace",),
    nn.SiLU: ("inplace",),
    nn.Sigmoid: (),
    nn.Identity: (),
    nn.Dropout: ("p", "inplace"),
    nn.Dropout2d: ("p", "inplace"),
    SamePadding: ("kernel_size", "stride", "dilation", "value"),
}
"""Layers by class, with the arguments that make another of the kind."""
FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "add": operator.add, "mul": operator.mul, "getitem": operator.getitem, "getattr": getattr,
    "torch.add": torch.add, "torch.cat": torch.cat, "torch.stack": torch.stack, "torch.relu": torch.relu,
    "interpolate": F.interpolate, "relu": F.relu, "adaptive_avg_pool2d": F.adaptive_avg_pool2d,
}  # fmt: skip
METHODS: Final = frozenset({"mean", "sum", "size", "flatten", "view", "permute", "contiguous"})
ATTRIBUTES: Final = frozenset({"shape"})
"""What ``getattr`` may ask for."""
_LAYER_NAMES: Final = {kind.__name__: kind for kind in LAYERS}
_FUNCTION_NAMES: Final = {function: name for name, function in FUNCTIONS.items()}


class NotPlainError(Exception):
    """A step that such a file cannot hold; no error of the user's."""


def write_graph(folder: Path, traced: fx.GraphModule) -> None:
    """Write the two files of a network in evaluation mode.

    Raises
    ------
    NotPlainError
        It has a step that is not listed above.
    OSError, SafetensorError
        The files cannot be written.
    """
    layers: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    steps = [_step(node) for node in traced.graph.nodes]
    for name in dict.fromkeys(str(node.target) for node in traced.graph.nodes if node.op == "call_module"):
        layer = plain_layer(traced.get_submodule(name))
        layers[name] = _layer(layer)
        tensors |= {f"{name}.{key}": value.contiguous() for key, value in layer.state_dict().items()}
    save_file(tensors, folder / TENSORS_FILE)
    (folder / STEPS_FILE).write_text(json_text({"layers": layers, "steps": steps}, indent=None))


def read_graph(folder: Path) -> fx.GraphModule:
    """Return the network that `write_graph` wrote, in evaluation mode.

    Raises
    ------
    ModelError
        Never: the caller keeps checksums of the files, so that they are as they were written.
    """
    document = json.loads((folder / STEPS_FILE).read_text())
    root = nn.Module()
    for name, described in document["layers"].items():
        _put(root, name, _made(described))
    # copies: what the library returns lies in the file, and a file that is cut short meanwhile would end the process
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / TENSORS_FILE).items()}
    root.load_state_dict(tensors, strict=True, assign=True)
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    for step in document["steps"]:
        target = FUNCTIONS[step["target"]] if step["op"] == "call_function" else step["target"]
        arguments, options = _decoded(step["args"], nodes), _decoded(step["kwargs"], nodes)
        nodes[step["name"]] = graph.create_node(step["op"], target, tuple(arguments), options, step["name"])
    return fx.GraphModule(root, graph).eval().requires_grad_(requires_grad=False)


def _step(node: fx.Node) -> dict[str, Any]:
    target = node.target if isinstance(node.target, str) else _FUNCTION_NAMES.get(node.target)
    known = {
        "call_function": target is not None and (target != "getattr" or node.args[1] in ATTRIBUTES),
        "call_method": target in METHODS,
    }
    if node.op == "get_attr" or not known.get(node.op, True):
        msg = f"{node.op} {node.target}"
        raise NotPlainError(msg)
    return {
        "op": node.op,
        "name": node.name,
        "target": target,
        "args": [_encoded(value) for value in node.args],
        "kwargs": {key: _encoded(value) for key, value in node.kwargs.items()},
    }


def _encoded(value: Any) -> Any:
    """Return an argument as JSON; what is no plain value becomes an object with one key that says what it is."""
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, tuple):
        return {"tuple": [_encoded(item) for item in value]}
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    msg = f"an argument of type {type(value).__name__}"
    raise NotPlainError(msg)


def _decoded(value: Any, nodes: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_decoded(item, nodes) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"node": str(name)}:
            return nodes[name]
        case {"slice": [start, stop, step]}:
            return slice(start, stop, step)
        case {"tuple": items}:
            return tuple(_decoded(items, nodes))
    return {key: _decoded(item, nodes) for key, item in value.items()}


def _layer(layer: nn.Module) -> dict[str, Any]:
    if type(layer) is nn.Sequential:
        return {"layer": "Sequential", "parts": [_layer(plain_layer(part)) for part in layer]}
    if type(layer) not in LAYERS:
        msg = f"layer {type(layer).__module__}.{type(layer).__qualname__}"
        raise NotPlainError(msg)
    settings = {name: _encoded(getattr(layer, name)) for name in LAYERS[type(layer)]}
    if isinstance(layer, nn.Conv2d):
        settings["bias"] = layer.bias is not None
    return {"layer": type(layer).__name__, "settings": settings}


def _made(described: Mapping[str, Any]) -> nn.Module:
    if described["layer"] == "Sequential":
        return nn.Sequential(*(_made(part) for part in described["parts"]))
    with torch.device("meta"):  # the tensors follow
        layer: nn.Module = _LAYER_NAMES[described["layer"]](**_decoded(described["settings"], {}))
    return layer


def _put(root: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer at a dotted name, making the modules on the way."""
    *folders, last = name.split(".")
    for folder in folders:
        if not hasattr(root, folder):
            root.add_module(folder, nn.Module())
        root = root.get_submodule(folder)
    root.add_module(last, layer)
