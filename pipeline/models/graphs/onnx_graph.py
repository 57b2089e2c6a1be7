"""ONNX graphs of other projects, run by onnxruntime as they are."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from segment_tiles.pipeline.errors import MissingExtraError, ModelError, one_line
from segment_tiles.pipeline.library_messages import ONNX_RUNTIME_ERRORS
from segment_tiles.pipeline.models.graphs.wiring import Wiring

_NUMPY_TYPES: Final = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64",
    "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(uint8)": "uint8", "tensor(bool)": "bool",
}  # fmt: skip
"""Types of inputs, as onnxruntime spells them, that a number can fill."""


class OnnxSession:
    """Maps an image to the outputs of a graph, by name, or to the one that holds the scores."""

    def __init__(self, session: Any, wiring: Wiring):
        self._session = session
        images = [entry for entry in session.get_inputs() if entry.name not in wiring.constants]
        self._image, size = images[0].name, images[0].shape[0]
        self.batch = size if isinstance(size, int) else None
        """Images of every call, if the graph has that in it."""
        self._further = {
            entry.name: _filled(entry, wiring.constants[entry.name])
            for entry in session.get_inputs()
            if entry.name in wiring.constants
        }
        self._outputs = [entry.name for entry in session.get_outputs()]
        self._asked = None if wiring.output is None else [wiring.output]

    def __call__(self, image: Tensor) -> dict[str, Tensor] | Tensor:
        """Return the outputs; if none is named and several are there, the first map of them."""
        inputs = {self._image: image.detach().cpu().contiguous().numpy(), **self._further}
        outputs = self._session.run(self._asked, inputs)
        if self._asked is None:
            # what is no map of scores is refused where a graph is imported, by what it is
            return torch.from_numpy(next((one for one in outputs if one.ndim == 4), outputs[0])).to(
                image.device
            )
        return {self._asked[0]: torch.from_numpy(outputs[0]).to(image.device)}


def _filled(entry: Any, value: float | tuple[float, ...]) -> Any:
    """Return the array of a constant input: of the graph's type and shape, where that is known."""
    dtype = _NUMPY_TYPES.get(entry.type)
    shape = [side if isinstance(side, int) else 1 for side in entry.shape]
    values = np.asarray(value)
    if dtype is None or values.size not in {1, int(np.prod(shape))}:
        msg = (
            f"input {entry.name} of the graph is {entry.type} of shape {entry.shape}; its constant of "
            f"{values.size} numbers does not fill it"
        )
        raise ModelError(msg)
    filled = values.reshape(shape) if values.size > 1 else np.broadcast_to(values, shape)
    return np.ascontiguousarray(filled.astype(dtype)).reshape(shape)


def load_onnx(path: Path, wiring: Wiring) -> OnnxSession:
    """Open a session of a graph on the processor.

    Raises
    ------
    ModelError
        Damaged, with operators that onnxruntime lacks, or called in another way than it wants.
    MissingExtraError
        Without onnxruntime.
    """
    runtime = onnx_module("onnxruntime")
    failures = runtime.capi.onnxruntime_pybind11_state
    try:
        options = runtime.SessionOptions()
        options.log_severity_level = ONNX_RUNTIME_ERRORS
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (failures.Fail, failures.InvalidProtobuf, failures.InvalidGraph, failures.NoSuchFile) as error:
        msg = f"{path} is not a complete ONNX file: {one_line(error)}"
        raise ModelError(msg) from error
    except (failures.InvalidArgument, failures.NotImplemented, failures.RuntimeException) as error:
        msg = f"{path} cannot be run by onnxruntime {runtime.__version__}: {one_line(error)}"
        raise ModelError(msg) from error
    _check_names(path, session, wiring)
    return OnnxSession(session, wiring)


def _check_names(path: Path, session: Any, wiring: Wiring) -> None:
    inputs = [entry.name for entry in session.get_inputs()]
    outputs = [entry.name for entry in session.get_outputs()]
    unknown = [name for name in wiring.constants if name not in inputs]
    missing = [name for name in inputs if name not in wiring.constants][1:]
    if unknown or len(inputs) == len(wiring.constants):
        msg = f"{path} has no such input to be constant: {', '.join(unknown)}; its inputs are {', '.join(inputs)}"
        raise ModelError(msg)
    if missing:
        msg = (
            f"{path} takes further inputs, {', '.join(missing)}, beside its image; give the value of each: "
            f"--constants {missing[0]}=NUMBER"
        )
        raise ModelError(msg)
    if wiring.output is not None and wiring.output not in outputs:
        msg = f"{path} has no output {wiring.output!r}; it has {', '.join(outputs)}"
        raise ModelError(msg)


def onnx_module(name: str) -> Any:
    """Import a library of the extra ``onnx``.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        msg = f"ONNX graphs need {name}, which is not installed: pip install 'segment-tiles[onnx]'"
        raise MissingExtraError(msg) from error
