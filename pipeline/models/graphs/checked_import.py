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
from segment_tiles.pipeline.models.graphs.packaged import PackagedGraph, load_graph, onnx_module, scores_of
from segment_tiles.pipeline.models.packages.manifest import Architecture
from segment_tiles.pipeline.models.packages.weights import refuse_no_numbers
from segment_tiles.pipeline.wording import counted

_PROBABILITY_TOLERANCE = 1e-3
_STRONG = 16.0
"""Standard deviation of noise on which logits leave 0 to 1, if they are not bounded."""
_TORCH_TYPES = ("float16", "float32", "float64")
"""Types of ONNX weights that may hold NaN and that torch reads from NumPy."""


@dataclass(frozen=True, slots=True)
class ImportedGraph:
    """A graph that was run and does what a model must do."""

    architecture: Architecture
    """Its kind, and how its output is read."""
    outputs: int
    """Output channels; of one, the architecture makes background and class."""
    assumptions: tuple[str, ...]
    """What was concluded from running it."""


def import_graph(path: Path, kind: str, copy: Path, *, bands: int, tile: int, trust: bool) -> ImportedGraph:
    """Copy a graph and run the copy on two sizes, two batches, and noise of two strengths.

    Parameters
    ----------
    path
        The file.
    kind
        torchscript, torch_export or onnx.
    copy
        Where to put it; parameters that ONNX keeps in files beside it are taken in.
    bands, tile
        What the user says of it; `tile` in pixels.
    trust
        The user has said that the file may execute code.

    Raises
    ------
    ModelError
        Damaged, fixed in size, with other bands, holding NaN or infinity, or answering with something else than
        scores of which the largest is the class.
    """
    if kind == "onnx":
        _copy_onnx(path, copy, bands)
    else:
        shutil.copyfile(path, copy)
    architecture = Architecture(arch=kind, backbone=path.name, image_pooling="unknown")
    graph = load_graph(copy, architecture, trust=trust, name=path)
    runs = ((1, tile, 1.0), (2, tile // 2, _STRONG))
    outputs = [_probe(graph, path, batch, bands, side, strength) for batch, side, strength in runs]
    details, assumptions = _reading(outputs, path)
    return ImportedGraph(replace(architecture, details=details), outputs[0].shape[1], assumptions)


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
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    numbers = {name: array for name, array in weights.items() if array.dtype in _TORCH_TYPES}
    refuse_no_numbers({name: torch.from_numpy(array.copy()) for name, array in numbers.items()}, str(path))
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
        msg = f"{path} takes {counted(shape[1], 'band')}; --bands names {bands}"
        raise ModelError(msg)
    if isinstance(shape[2], int) or isinstance(shape[3], int):
        msg = (
            f"{path} takes images of fixed size {shape[2]} x {shape[3]}; export it with dynamic rows and columns "
            "(torch.onnx.export: dynamic_shapes)"
        )
        raise ModelError(msg)


@torch.inference_mode()
def _probe(graph: PackagedGraph, path: Path, batch: int, bands: int, side: int, strength: float) -> Tensor:
    image = strength * torch.randn(batch, bands, side, side, generator=torch.Generator().manual_seed(0))
    try:
        output = scores_of(graph.graph(image))
    except ModelError as error:
        msg = f"{path}: {error}"
        raise ModelError(msg) from error
    except Exception as error:
        msg = f"{path} does not run on {batch} x {bands} x {side} x {side}: {one_line(error)[:300]}"
        raise ModelError(msg) from error
    if output.shape[0] != batch or tuple(output.shape[2:]) != (side, side):
        msg = f"{path} answers {tuple(image.shape)} by {tuple(output.shape)}; rows and columns must stay the same"
        raise ModelError(msg)
    if not output.isfinite().all():
        msg = f"{path} answers noise with NaN or infinity; its weights are damaged, or it needs other values"
        raise ModelError(msg)
    return output.float()


def _reading(outputs: Sequence[Tensor], path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Conclude from runs how an output is to be read: logits or probabilities, one class or more.

    Raises
    ------
    ModelError
        Labels, or several classes that may overlap.
    """
    channels = outputs[0].shape[1]
    if all(torch.equal(output, output.round()) for output in outputs):
        msg = (
            f"{path} answers with whole numbers alone: labels or a threshold in it, not scores; export it without "
            "argmax or threshold"
        )
        raise ModelError(msg)
    within = all(float(output.min()) >= 0 and float(output.max()) <= 1 for output in outputs)
    if channels == 1:
        return _reading_of_one(within=within)
    sums_to_one = all(float((output.sum(1) - 1).abs().max()) < _PROBABILITY_TOLERANCE for output in outputs)
    if within and not sums_to_one:
        msg = (
            f"{path} answers with {channels} values from 0 to 1 that do not sum to 1: several sigmoids, whose classes "
            "may overlap (multi-label); one class for each pixel is needed: export it with softmax, or without any"
        )
        raise ModelError(msg)
    if sums_to_one and within:
        return {"activation": "softmax"}, ("outputs sum to 1: taken for probabilities",)
    return {}, ("outputs are taken for logits: the class of a pixel is the largest of them",)


def _reading_of_one(*, within: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    notes = ["one output: the first class is the background"]
    if not within:
        return {"background": True}, (*notes, "outputs are taken for logits: above 0 is the class")
    notes.append("outputs lie between 0 and 1: taken for probabilities")
    return {"background": True, "activation": "sigmoid"}, tuple(notes)
