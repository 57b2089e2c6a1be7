"""Small ONNX graphs of every geometry, written with onnx alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper, save_model

CLASSES = 3


def _weights(name: str, kernel: int, dtype: str) -> Any:
    values = np.random.default_rng(3).normal(0, 0.4, (CLASSES, 3, kernel, kernel))
    return numpy_helper.from_array(values.astype(dtype), name)


def write_graph(
    path: Path,
    *,
    sides: Sequence[int | str],
    out: int | str,
    kernel: int = 3,
    dilation: int = 1,
    stride: int = 1,
    pad: int = 0,
    channels_last: bool = False,
    dtype: str = "float32",
    extra: bool = False,
    batch: int | str = 1,
    activation: str = "Identity",
) -> Path:
    """Write one convolution: image -> scores, and if `extra` a scalar input that multiplies it and a second output."""
    kind = TensorProto.FLOAT if dtype == "float32" else TensorProto.FLOAT16
    rows, columns = sides
    shape = [batch, rows, columns, 3] if channels_last else [batch, 3, rows, columns]
    result = [batch, out, out, CLASSES] if channels_last else [batch, CLASSES, out, out]
    inputs = [helper.make_tensor_value_info("image", kind, shape)]
    outputs = [helper.make_tensor_value_info("scores", kind, result)]
    nodes, seen = [], "image"
    if channels_last:
        nodes.append(helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]))
        seen = "planes"
    conv = {
        "kernel_shape": [kernel, kernel],
        "dilations": [dilation] * 2,
        "strides": [stride] * 2,
        "pads": [pad] * 4,
    }
    nodes.append(helper.make_node("Conv", [seen, "weights"], ["maps"], **conv))
    last = "maps"
    if extra:
        inputs.append(helper.make_tensor_value_info("gain", kind, [1]))
        outputs.insert(0, helper.make_tensor_value_info("auxiliary", kind, [batch, CLASSES, rows, columns]))
        nodes.append(helper.make_node("Neg", ["maps"], ["auxiliary"]))
        nodes.append(helper.make_node("Mul", ["maps", "gain"], ["louder"]))
        last = "louder"
    ending = (
        ("Transpose", {"perm": [0, 2, 3, 1]})
        if channels_last
        else (activation, {"axis": 1} if activation == "Softmax" else {})
    )
    nodes.append(helper.make_node(ending[0], [last], ["scores"], **ending[1]))
    graph = helper.make_graph(nodes, "net", inputs, outputs, [_weights("weights", kernel, dtype)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save_model(model, str(path))
    return path


def reflected(position: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Mirror positions into [0, size), edges once."""
    if size == 1:
        return position * 0
    turn = np.abs(position) % (2 * (size - 1))
    return np.where(turn < size, turn, 2 * (size - 1) - turn)


def bilinear(scores: NDArray[np.float32], side: int, *, align_corners: bool) -> NDArray[np.float64]:
    """Enlarge (classes, h, h) to (classes, side, side), one axis after the other."""
    size = scores.shape[-1]
    position = np.arange(side)
    if align_corners:
        where = position * (size - 1) / (side - 1)
    else:
        where = np.clip((position + 0.5) * size / side - 0.5, 0, None)
    low = np.minimum(np.floor(where).astype(int), size - 1)
    high, share = np.minimum(low + 1, size - 1), where - low
    lines = scores[:, low] * (1 - share)[:, None] + scores[:, high] * share[:, None]
    return lines[:, :, low] * (1 - share) + lines[:, :, high] * share


def plain_reference(
    answer: Any, image: NDArray[Any], *, tile: int, margin: int, overlap: int, finer: Any = None
) -> NDArray[np.float64]:
    """Return logits (classes, rows, columns): a loop over windows, each pixel from the window whose middle is nearest.

    Windows of outputs start at 0 and lie tile - overlap apart; each reads `margin` more on all sides. What lies
    outside the image is mirrored from what of the window lies inside.
    """
    _, height, width = image.shape
    result: NDArray[np.float64] | None = None
    scored, step = tile - 2 * margin, tile - overlap
    shared = scored - step
    for top in starts(height, step, shared):
        for left in starts(width, step, shared):
            spans = []
            for start, size in ((top, height), (left, width)):
                first, stop = max(0, start - margin), min(start - margin + tile, size)
                spans.append(
                    first + reflected(np.arange(start - margin, start - margin + tile) - first, stop - first)
                )
            window = image[:, spans[0]][:, :, spans[1]].astype(np.float32)
            logits = answer(window)
            logits = logits if finer is None else finer(logits, scored)
            result = np.zeros((len(logits), height, width)) if result is None else result
            # later windows take over from the middle of what they share with earlier ones
            inner = (shared // 2 if top else 0, shared // 2 if left else 0)
            part = logits[:, inner[0] : height - top, inner[1] : width - left]
            rows, columns = part.shape[1:]
            result[:, top + inner[0] : top + inner[0] + rows, left + inner[1] : left + inner[1] + columns] = (
                part
            )
    assert result is not None
    return result


def starts(size: int, step: int, shared: int) -> list[int]:
    """Return where windows of outputs start: as many as it takes to cover a side."""
    found = [0]
    while found[-1] + step + shared < size:
        found.append(found[-1] + step)
    return found
