"""What a graph says of itself without being run: its inputs and outputs, their shapes and types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from segment_tiles.pipeline.accepted import CHANNELS_FIRST, CHANNELS_LAST
from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.graphs.onnx_graph import onnx_module
from segment_tiles.pipeline.models.graphs.torch_graph import placeholders
from segment_tiles.pipeline.wording import counted


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The input that takes the image: its sides in any order, and its type."""

    sides: tuple[int | None, ...]
    """None: any."""
    type: str
    """Of its numbers, such as float32."""


def onnx_image(model: Any, constants: Mapping[str, Any]) -> ImageInput:
    """Return the first input of an ONNX model that is neither a weight nor constant."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [
        entry for entry in model.graph.input if entry.name not in weights and entry.name not in constants
    ]
    if not inputs:
        return ImageInput((), "float32")
    tensor = inputs[0].type.tensor_type
    sides = tuple(side.dim_value if side.HasField("dim_value") else None for side in tensor.shape.dim)
    return ImageInput(sides, onnx_module("onnx.helper").tensor_dtype_to_np_dtype(tensor.elem_type).name)


def exported_image(graph: Any) -> ImageInput | None:
    """Return the image of a graph of torch.export; None of any other graph, which does not say."""
    inputs = placeholders(graph) if isinstance(graph, nn.Module) else []
    image = inputs[0].meta.get("val") if inputs else None
    if not isinstance(image, Tensor):
        return None
    sides = tuple(side if isinstance(side, int) else None for side in image.shape)
    return ImageInput(sides, str(image.dtype).removeprefix("torch."))


def layout_of(path: Path, image: ImageInput, bands: int, asked: str | None) -> str:
    """Return the order of the axes of an image: as asked for, else as its sides say.

    Raises
    ------
    ModelError
        It is no image of so many bands.
    """
    sides = image.sides
    if len(sides) != 4:
        msg = f"{path} takes an input of shape {shown(sides)}; (batch, bands, rows, columns) is needed"
        raise ModelError(msg)
    if asked is None:
        is_last = sides[1] != bands and sides[3] == bands
        asked = CHANNELS_LAST if is_last else CHANNELS_FIRST
    found = sides[3] if asked == CHANNELS_LAST else sides[1]
    if found is not None and found != bands:
        msg = f"{path} takes {counted(found, 'band')}; --bands names {bands}"
        raise ModelError(msg)
    return asked


def fixed_side(path: Path, image: ImageInput, layout: str) -> int | None:
    """Return the side of the images that a graph takes, or None if it takes any.

    Raises
    ------
    ModelError
        They are not square.
    """
    rows, columns = image.sides[1:3] if layout == CHANNELS_LAST else image.sides[2:4]
    if rows != columns:
        fixed = f"{shown((rows,))[1:-1]} x {shown((columns,))[1:-1]}"
        msg = (
            f"{path} takes images of fixed size {fixed}; a square or any size is needed: export it so "
            "(torch.onnx.export: dynamic_shapes)"
        )
        raise ModelError(msg)
    return rows


def shown(sides: Sequence[int | None]) -> str:
    """Return sides for people: ? if any."""
    return f"[{', '.join('?' if side is None else str(side) for side in sides)}]"
