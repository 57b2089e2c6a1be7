"""Packaged graphs: TorchScript, torch.export and ONNX files that bring their own network.

What runs when a graph is loaded decides whether the user must say ``--trust``:

============== ============================================ ==========
kind           the file holds                               ``--trust``
============== ============================================ ==========
torchscript    a program that torch interprets; it may      yes
               read and write files
torch_export   a graph of torch operators, read with the    yes
               help of pickles
onnx           a graph of ONNX operators and nothing else   no
============== ============================================ ==========
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segment_tiles.pipeline.errors import MissingExtraError, ModelError, one_line
from segment_tiles.pipeline.library_messages import ONNX_RUNTIME_ERRORS, ignored_warnings
from segment_tiles.pipeline.models.networks.layers import refuse_tracing
from segment_tiles.pipeline.models.packages.manifest import Architecture
from segment_tiles.pipeline.models.packages.weights import refuse_no_numbers

EXECUTES = ("torchscript", "torch_export")
"""Architectures whose files may execute code when they are loaded."""

_SUFFIXES = {".onnx": "onnx", ".pt2": "torch_export"}
_OUTPUT_NAMES = ("out", "logits")
"""Keys under which torchvision and Hugging Face return logits."""


class PackagedGraph(nn.Module):
    """Makes a graph behave as a network: one tensor of float32 logits, whatever it returns.

    It stays in float32 and in one copy: a graph may hold an open session, and its types are fixed.

    Parameters
    ----------
    graph
        Maps float32 (B, bands, H, W) to a tensor, or to a mapping or sequence that holds one.
    activation
        ``none`` where the graph returns logits, ``softmax`` or ``sigmoid`` where it returns probabilities,
        whose logarithm is taken.
    background
        Adds a first class of logit 0 to a graph of one output.
    """

    def __init__(self, graph: Callable[[Tensor], Any], *, activation: str, background: bool):
        super().__init__()
        self.graph = graph
        self.activation = activation
        self.background = background

    def forward(self, image: Tensor) -> Tensor:
        """Map normalised (B, bands, H, W) to logits (B, classes, H, W)."""
        refuse_tracing(image, "a packaged graph")
        scores = scores_of(self.graph(image.float())).float()
        if self.activation != "none":
            scores = scores + (
                scores - scores
            )  # NaN for infinity, which the bounds below would make a number
        if self.activation == "softmax":
            scores = scores.clamp_min(torch.finfo(torch.float32).tiny).log()
        elif self.activation == "sigmoid":
            scores = torch.logit(scores, eps=torch.finfo(torch.float32).eps)
        return torch.cat([torch.zeros_like(scores), scores], dim=1) if self.background else scores

    def train(self, mode: bool = True) -> PackagedGraph:
        """Stay in evaluation mode, the only one that a graph has."""
        self.training = False
        return self

    def to(self, *args: Any, **kwargs: Any) -> PackagedGraph:
        """Move to a device; the type of the numbers stays."""
        device = kwargs.get("device") or next((arg for arg in args if not isinstance(arg, torch.dtype)), None)
        if device is not None and isinstance(self.graph, nn.Module):
            self.graph.to(device=device)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> PackagedGraph:
        """Return the same graph: it has no state that a user could change."""
        return self


def graph_kind(path: Path) -> str | None:
    """Return the architecture that a file is a graph of, or None if it is no graph."""
    if path.suffix in _SUFFIXES:
        return _SUFFIXES[path.suffix]
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        inner = {name.partition("/")[2] for name in archive.namelist()}
    if "archive_format" in inner or any(name.startswith("models/") for name in inner):
        return "torch_export"
    return "torchscript" if any(name.startswith("code/") for name in inner) else None


def load_graph(
    path: Path, architecture: Architecture, *, trust: bool, name: Path | None = None
) -> PackagedGraph:
    """Load a graph.

    Parameters
    ----------
    path
        The file.
    architecture
        Its kind, and how its output is read.
    trust
        The user has said that the file may execute code.
    name
        What errors call the file, if it is a copy of the user's.

    Raises
    ------
    ModelError
        Damaged, holding NaN or infinity, or of a kind that executes code and not trusted.
    MissingExtraError
        ONNX without onnxruntime.
    """
    kind, details, name = architecture.arch, architecture.details, name or path
    if kind in EXECUTES and not trust:
        msg = f"{name} is a {kind} graph, which may execute code when loaded; say --trust if you trust its author"
        raise ModelError(msg)
    loader = {"torchscript": _torchscript, "torch_export": _torch_export, "onnx": _onnx}[kind]
    try:
        graph = loader(path)
    except ModelError as error:
        raise ModelError(str(error).replace(str(path), str(name))) from error
    if isinstance(graph, nn.Module):
        refuse_no_numbers(graph.state_dict(), str(name))
    return PackagedGraph(
        graph,
        activation=str(details.get("activation", "none")),
        background=bool(details.get("background", False)),
    ).eval()


def _torchscript(path: Path) -> Callable[[Tensor], Any]:
    _check_archive(path)
    try:
        with ignored_warnings():  # torch advises torch.export instead
            load: Any = torch.jit.load  # has no types of its own
            script: nn.Module = load(str(path), map_location="cpu").eval()
    except (RuntimeError, OSError, ValueError) as error:
        msg = f"{path} is not a complete TorchScript file: {one_line(error)}"
        raise ModelError(msg) from error
    return script


def _torch_export(path: Path) -> Callable[[Tensor], Any]:
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


class _OnnxSession:
    """Runs an ONNX graph by onnxruntime, item by item where its batch is fixed to one."""

    def __init__(self, session: Any):
        self.session = session
        tensor = session.get_inputs()[0]
        self.name, self.one_by_one = tensor.name, tensor.shape[0] == 1

    def __call__(self, image: Tensor) -> Tensor:
        batches = torch.split(image, 1) if self.one_by_one else [image]
        results = [torch.from_numpy(self._run(batch)) for batch in batches]
        return torch.cat(results).to(image.device)

    def _run(self, image: Tensor) -> Any:
        outputs = self.session.run(None, {self.name: image.detach().cpu().contiguous().numpy()})
        # what is no map of scores is refused where a graph is imported, by what it is
        return next((output for output in outputs if output.ndim == 4), outputs[0])


def _onnx(path: Path) -> Callable[[Tensor], Any]:
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
    return _OnnxSession(session)


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


def scores_of(output: Any) -> Tensor:
    """Return the one tensor (batch, channels, rows, columns) of what a graph returns, as it is.

    Raises
    ------
    ModelError
        There is none, or it holds labels, which are no scores.
    """
    if isinstance(output, Mapping):
        output = next((output[name] for name in _OUTPUT_NAMES if name in output), None)
    elif isinstance(output, tuple | list):
        tensors = [part for part in output if isinstance(part, Tensor)]
        output = next((part for part in tensors if part.ndim == 4), tensors[0] if tensors else None)
    if isinstance(output, Tensor) and (not output.is_floating_point() or output.ndim == 3):
        msg = (
            f"the graph returns labels, {str(output.dtype).removeprefix('torch.')} of shape {tuple(output.shape)} (an "
            "argmax or a threshold in it); export it without: a score per class, (batch, classes, rows, columns)"
        )
        raise ModelError(msg)
    if not isinstance(output, Tensor) or output.ndim != 4:
        found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        msg = f"the graph returns {found}; a tensor (batch, classes, rows, columns) is needed"
        raise ModelError(msg)
    return output
