"""Graphs of other projects: checked by running them, then packaged."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segment_tiles.pipeline.errors import ModelError, one_line
from segment_tiles.pipeline.models.graphs import PackagedGraph, load_graph, onnx_module
from segment_tiles.pipeline.models.manifest import Architecture

_PROBABILITY_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class ImportedGraph:
    """A graph that was run once and does what a model must do."""

    architecture: Architecture
    """Its kind, and how its output is read."""
    classes: int
    """Output channels, a background counted."""
    assumptions: tuple[str, ...]
    """What was concluded from running it."""


def import_graph(
    path: Path, kind: str, copy: Path, *, bands: int, classes: int, tile: int, trust: bool
) -> ImportedGraph:
    """Copy a graph and run the copy on two sizes and two batches.

    Parameters
    ----------
    path
        The file.
    kind
        torchscript, torch_export or onnx.
    copy
        Where to put it; parameters that ONNX keeps in files beside it are taken in.
    bands, classes, tile
        What the user says of it; `tile` in pixels.
    trust
        The user has said that the file may execute code.

    Raises
    ------
    ModelError
        Damaged, fixed in size, or with other bands or classes.
    """
    if kind == "onnx":
        _copy_onnx(path, copy, bands)
    else:
        shutil.copyfile(path, copy)
    architecture = Architecture(arch=kind, backbone=path.name, image_pooling="unknown")
    graph = load_graph(copy, architecture, trust=trust)
    outputs = [_probe(graph, path, batch, bands, side) for batch, side in ((1, tile), (2, tile // 2))]
    details, assumptions = _reading(outputs, classes)
    found = outputs[0].shape[1] + bool(details.get("background"))
    return ImportedGraph(replace(architecture, details=details), found, assumptions)


def _copy_onnx(path: Path, copy: Path, bands: int) -> None:
    onnx = onnx_module("onnx")
    decode_error = onnx_module("google.protobuf.message").DecodeError
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (decode_error, onnx.checker.ValidationError, OSError, ValueError) as error:
        msg = f"{path} is not a complete ONNX file: {one_line(error)}"
        raise ModelError(msg) from error
    _check_onnx_input(path, _onnx_shape(model), bands)
    onnx.save_model(model, str(copy))


def _onnx_shape(model: Any) -> list[int | str]:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [tensor for tensor in model.graph.input if tensor.name not in weights]
    dimensions = inputs[0].type.tensor_type.shape.dim if inputs else []
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dimensions]


def _check_onnx_input(path: Path, shape: Sequence[int | str], bands: int) -> None:
    if len(shape) != 4:
        msg = f"{path} takes an input of shape {list(shape)}; (batch, bands, rows, columns) is needed"
        raise ModelError(msg)
    if isinstance(shape[1], int) and shape[1] != bands:
        msg = f"{path} takes {shape[1]} bands; --bands names {bands}"
        raise ModelError(msg)
    if isinstance(shape[2], int) or isinstance(shape[3], int):
        msg = (
            f"{path} takes images of fixed size {shape[2]} x {shape[3]}; export it with dynamic rows and columns "
            "(torch.onnx.export: dynamic_shapes)"
        )
        raise ModelError(msg)


@torch.inference_mode()
def _probe(graph: PackagedGraph, path: Path, batch: int, bands: int, side: int) -> Tensor:
    image = torch.randn(batch, bands, side, side, generator=torch.Generator().manual_seed(0))
    try:
        output: Tensor = graph(image)
    except ModelError:
        raise
    except Exception as error:
        msg = f"{path} does not run on {batch} x {bands} x {side} x {side}: {one_line(error)[:300]}"
        raise ModelError(msg) from error
    if output.shape[0] != batch or tuple(output.shape[2:]) != (side, side):
        msg = f"{path} answers {tuple(image.shape)} by {tuple(output.shape)}; rows and columns must stay the same"
        raise ModelError(msg)
    return output


def _reading(outputs: Sequence[Tensor], classes: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Conclude from two runs how an output is to be read: logits or probabilities, one class or more."""
    details: dict[str, Any] = {}
    notes: list[str] = []
    channels = outputs[0].shape[1]
    within = all(float(output.min()) >= 0 and float(output.max()) <= 1 for output in outputs)
    sums = [float((output.sum(1) - 1).abs().max()) for output in outputs]
    if channels > 1 and within and max(sums) < _PROBABILITY_TOLERANCE:
        details["activation"] = "softmax"
        notes.append("outputs sum to 1: taken for probabilities")
    if channels == 1 and classes == 2:
        details["background"] = True
        notes.append("one output: the first class is the background")
        if within:
            details["activation"] = "sigmoid"
            notes.append("outputs lie between 0 and 1: taken for probabilities")
    return details, tuple(notes)
