"""Graphs of torch from other projects, TorchScript and torch.export: read, and what they take beside an image."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from segment_tiles.pipeline.errors import ModelError, one_line
from segment_tiles.pipeline.library_messages import ignored_warnings
from segment_tiles.pipeline.models.graphs.wiring import Wiring

_NUMBERS: Final = {"int": int, "float": float, "bool": bool}
"""Types of arguments of TorchScript that are no tensors, as it spells them."""


def _torchscript(path: Path) -> nn.Module:
    _check_archive(path)
    try:
        with ignored_warnings():  # torch advises torch.export instead
            load: Any = torch.jit.load  # has no types of its own
            script: nn.Module = load(str(path), map_location="cpu").eval()
    except (RuntimeError, OSError, ValueError) as error:
        msg = f"{path} is not a complete TorchScript file: {one_line(error)}"
        raise ModelError(msg) from error
    return script


def _torch_export(path: Path) -> nn.Module:
    _check_archive(path)
    try:
        with path.open("rb") as stream:  # a name without .pt2 would be complained of
            return torch.export.load(stream).module()
    except (RuntimeError, OSError, ValueError, KeyError, AssertionError, pickle.UnpicklingError) as error:
        msg = f"{path} is not a complete torch.export file of this or an earlier torch: {one_line(error)}"
        raise ModelError(msg) from error


def _check_archive(path: Path) -> None:
    """Refuse a damaged archive before torch writes a traceback about it to its log."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError) as error:
        msg = f"{path} is not a complete file: {one_line(error)}"
        raise ModelError(msg) from error
    if damaged is not None:
        msg = f"{path} is not a complete file: {damaged} in it is damaged"
        raise ModelError(msg)


LOADERS: Final = {"torchscript": _torchscript, "torch_export": _torch_export}
"""By architecture."""


def placeholders(graph: nn.Module) -> list[fx.Node]:
    """Return the inputs of a graph of torch.export, with what their example was; of TorchScript nothing is known."""
    if not isinstance(graph, fx.GraphModule):
        return []
    return [node for node in graph.graph.nodes if node.op == "placeholder"]


def constants_of(graph: nn.Module, wiring: Wiring) -> list[Any]:
    """Return the constant inputs of a graph, in its order, without the image.

    Raises
    ------
    ModelError
        It has other further inputs, or one cannot be filled with its constant.
    """
    types = _further_inputs(graph)
    if set(types) != set(wiring.constants):
        msg = (
            f"the graph takes {', '.join(types) or 'nothing'} beside its image, and --constants gives "
            f"{', '.join(wiring.constants) or 'nothing'}; every further input needs its NAME=NUMBER"
        )
        raise ModelError(msg)
    return [_filled(name, kind, wiring.constants[name]) for name, kind in types.items()]


def _further_inputs(graph: nn.Module) -> dict[str, Any]:
    """Return names of further inputs that must be given, with an example of a tensor, or the type of a number."""
    if isinstance(graph, fx.GraphModule):
        return {str(node.name): node.meta.get("val") for node in placeholders(graph)[1:]}
    if not isinstance(graph, torch.jit.ScriptModule):
        return {}
    forward: Any = graph.forward  # has no types of its own
    arguments = forward.schema.arguments[2:]  # after self and the image
    return {entry.name: str(entry.type) for entry in arguments if not entry.has_default_value()}


def _filled(name: str, kind: Any, value: float | tuple[float, ...]) -> Any:
    if isinstance(kind, str):
        number = _NUMBERS.get(kind)
        return torch.tensor(value, dtype=torch.float32) if number is None else number(value)
    if not isinstance(kind, Tensor):
        return value
    shape = [side if isinstance(side, int) else 1 for side in kind.shape]
    filled = torch.tensor(value, dtype=torch.float64)
    try:
        return filled.reshape(shape if filled.numel() > 1 else ()).expand(shape).to(kind.dtype).contiguous()
    except RuntimeError as error:
        msg = f"input {name} of the graph has shape {shape}; its constant of {filled.numel()} numbers does not fill it"
        raise ModelError(msg) from error
