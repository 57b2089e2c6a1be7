"""Graphs of other projects: checked by running them, then packaged."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import gcd, lcm
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from segment_tiles.pipeline.accepted import CHANNELS_FIRST
from segment_tiles.pipeline.errors import ModelError, UsageError, one_line
from segment_tiles.pipeline.models.graphs.graph_shape import (
    ImageInput,
    exported_image,
    fixed_side,
    layout_of,
    onnx_image,
)
from segment_tiles.pipeline.models.graphs.onnx_graph import onnx_module
from segment_tiles.pipeline.models.graphs.packaged import load_graph
from segment_tiles.pipeline.models.graphs.probing import Asked, Probed, geometry_of, probe
from segment_tiles.pipeline.models.graphs.wiring import Wiring
from segment_tiles.pipeline.models.packages.geometry import OutputGeometry
from segment_tiles.pipeline.models.packages.manifest import PROBABILITIES, Architecture
from segment_tiles.pipeline.models.packages.weights import refuse_no_numbers

DEFAULT_TILE: Final = 512
"""Side of a tile of a graph that takes any, if the user names none."""
_PROBABILITY_TOLERANCE = 1e-3
_TORCH_TYPES = ("float16", "float32", "float64")
"""Types of ONNX weights that may hold NaN and that torch reads from NumPy; and of images."""


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """What the user says of a graph."""

    bands: int
    """Of its image."""
    tile: int | None = None
    """Side in pixels; None: the graph's own, or the usual one."""
    trust: bool = False
    """The file may execute code."""
    layout: str | None = None
    """nchw or nhwc; None: what its shape says."""
    output: str | None = None
    """Name or number of the output that holds the scores."""
    constants: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)
    """Values of its further inputs."""
    asked: Asked = field(default_factory=Asked)
    """How its output lies on its input."""


@dataclass(frozen=True, slots=True)
class ImportedGraph:
    """A graph that was run and does what a model must do."""

    architecture: Architecture
    """Its kind, and how it is called and its output is read."""
    outputs: int
    """Output channels; of one, the architecture makes background and class."""
    assumptions: tuple[str, ...]
    """What was concluded from running it."""
    tile: int
    """Side in pixels that it takes, or is to be given."""
    geometry: OutputGeometry
    """How its output lies on a tile."""


def import_graph(path: Path, kind: str, copy: Path, options: GraphOptions) -> ImportedGraph:
    """Copy a graph and run the copy: on two sizes and two batches if it takes them, and noise of two strengths.

    Parameters
    ----------
    path
        The file.
    kind
        torchscript, torch_export or onnx.
    copy
        Where to put it; parameters that ONNX keeps in files beside it are taken in.
    options
        What the user says of it.

    Raises
    ------
    ModelError
        Damaged, with other bands, holding NaN or infinity, or answering with something else than scores of which the
        largest is the class.
    UsageError
        What the user says of it is not so, or has to be said.
    """
    image = _copied(path, kind, copy, options)
    said = Wiring(output=options.output, constants=options.constants)
    architecture = Architecture(kind, path.name, image_pooling="unknown", details=said.to_details())
    graph = load_graph(copy, architecture, trust=options.trust, name=path)
    graph.wiring, tile, is_fixed = _called(path, image or exported_image(graph.graph), options)
    probed = probe(graph, path, options.bands, tile, is_fixed=is_fixed)
    geometry = geometry_of(probed, options.asked, path)
    details, assumptions = _reading(probed.outputs, path, multi_label=options.asked.multi_label)
    return ImportedGraph(
        replace(
            architecture,
            output_stride=_sampling_grid(architecture, tile, geometry),
            details={**details, **probed.wiring.to_details()},
        ),
        probed.outputs[0].shape[1],
        (*_geometry_notes(probed, geometry), *assumptions),
        tile,
        geometry,
    )


def _copied(path: Path, kind: str, copy: Path, options: GraphOptions) -> ImageInput | None:
    """Copy a graph, and return what it says of its image, if it does."""
    if kind == "onnx":
        return _copy_onnx(path, copy, options)
    shutil.copyfile(path, copy)
    return None


def _called(path: Path, image: ImageInput | None, options: GraphOptions) -> tuple[Wiring, int, bool]:
    """Return how a graph is called, with which side, and whether with that alone."""
    tile = options.tile or DEFAULT_TILE
    if image is None:
        layout = options.layout or CHANNELS_FIRST
        return Wiring(layout, output=options.output, constants=options.constants), tile, False
    layout = layout_of(path, image, options.bands, options.layout)
    side = fixed_side(path, image, layout)
    if side is not None and options.tile not in {None, side}:
        msg = f"--tile {options.tile}: {path} takes images of {side} x {side} alone; leave --tile out"
        raise UsageError(msg)
    if image.type not in _TORCH_TYPES:
        msg = f"{path} takes images of {image.type}; {', '.join(_TORCH_TYPES)} can be fed"
        raise ModelError(msg)
    wiring = Wiring(
        layout,
        input_type=image.type,
        batch=image.sides[0],
        output=options.output,
        constants=options.constants,
    )
    return wiring, side or tile, side is not None


def _sampling_grid(architecture: Architecture, tile: int, geometry: OutputGeometry) -> int:
    """Return the pixels of which sides and strides of tiles are multiples, as far as the graph lets them be."""
    if geometry.fixed_side:
        return gcd(tile, lcm(architecture.output_stride, geometry.coarser))
    return lcm(architecture.output_stride, geometry.coarser)


def _geometry_notes(probed: Probed, geometry: OutputGeometry) -> tuple[str, ...]:
    notes = list(probed.notes)
    if geometry.margin:
        notes.append(f"its output is cropped by {geometry.margin} px on each side of a tile")
    if geometry.coarser > 1:
        notes.append(f"a pixel of its output stands for {geometry.coarser} x {geometry.coarser} of the tile")
    if probed.wiring.input_layout != CHANNELS_FIRST or probed.wiring.output_layout != CHANNELS_FIRST:
        notes.append(f"input {probed.wiring.input_layout}, output {probed.wiring.output_layout}")
    return tuple(notes)


def _copy_onnx(path: Path, copy: Path, options: GraphOptions) -> ImageInput:
    onnx = onnx_module("onnx")
    decode_error = onnx_module("google.protobuf.message").DecodeError
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (decode_error, onnx.checker.ValidationError, OSError, ValueError) as error:
        msg = f"{path} is not a complete ONNX file: {one_line(error)}"
        raise ModelError(msg) from error
    image = onnx_image(model, options.constants)
    layout_of(path, image, options.bands, options.layout)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    numbers = {name: array for name, array in weights.items() if array.dtype in _TORCH_TYPES}
    refuse_no_numbers({name: torch.from_numpy(array.copy()) for name, array in numbers.items()}, str(path))
    onnx.save_model(model, str(copy))
    return image


def _reading(
    outputs: Sequence[Tensor], path: Path, *, multi_label: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
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
    if multi_label:
        note = "each output is a class by itself, and classes may overlap"
        return ({"activation": PROBABILITIES} if within else {}), (note,)
    if channels == 1:
        return _reading_of_one(within=within)
    sums_to_one = all(float((output.sum(1) - 1).abs().max()) < _PROBABILITY_TOLERANCE for output in outputs)
    if within and not sums_to_one:
        msg = (
            f"{path} answers with {channels} values from 0 to 1 that do not sum to 1: several sigmoids, whose classes "
            "may overlap; say --multi-label, or export it with softmax if each pixel has one class"
        )
        raise ModelError(msg)
    if sums_to_one and within:
        return {"activation": PROBABILITIES}, ("outputs sum to 1: taken for probabilities",)
    return {}, ("outputs are taken for logits: the class of a pixel is the largest of them",)


def _reading_of_one(*, within: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    notes = ["one output: the first class is the background"]
    if not within:
        return {"background": True}, (*notes, "outputs are taken for logits: above 0 is the class")
    notes.append("outputs lie between 0 and 1: taken for probabilities")
    return {"background": True, "activation": PROBABILITIES}, tuple(notes)
