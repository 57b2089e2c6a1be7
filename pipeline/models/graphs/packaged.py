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

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segment_tiles.pipeline.accepted import CHANNELS_LAST
from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.graphs.onnx_graph import OnnxSession, load_onnx
from segment_tiles.pipeline.models.graphs.torch_graph import LOADERS, constants_of
from segment_tiles.pipeline.models.graphs.wiring import USUAL, Wiring, wiring_of
from segment_tiles.pipeline.models.networks.layers import refuse_tracing
from segment_tiles.pipeline.models.packages.manifest import PROBABILITIES, Architecture
from segment_tiles.pipeline.models.packages.weights import refuse_no_numbers

EXECUTES = ("torchscript", "torch_export")
"""Architectures whose files may execute code when they are loaded."""

_SUFFIXES = {".onnx": "onnx", ".pt2": "torch_export"}
_TYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
_OUTPUT_NAMES = ("out", "logits")
"""Keys under which torchvision and Hugging Face return logits."""


class PackagedGraph(nn.Module):
    """Makes a graph behave as a network: one tensor of float32 logits, whatever it takes and returns.

    It stays in float32 and in one copy: a graph may hold an open session, and its types are fixed.

    Parameters
    ----------
    graph
        Maps an image, and further inputs, to a tensor, or to a mapping or sequence that holds one.
    activation
        ``none`` where the graph returns logits, ``probabilities`` where it returns these. ``softmax`` and
        ``sigmoid`` stand in packages of earlier versions: probabilities whose logarithm is taken.
    background
        Adds a first class to a graph of one output: of logit 0, or of what is left of 1.
    wiring
        How it is called.
    """

    def __init__(
        self, graph: Callable[..., Any], *, activation: str, background: bool, wiring: Wiring = USUAL
    ) -> None:
        super().__init__()
        self.graph, self.wiring = graph, wiring
        # a graph of ONNX has them itself
        self._further = constants_of(graph, wiring) if isinstance(graph, nn.Module) else []
        self.activation = activation
        self.background = background

    def forward(self, image: Tensor) -> Tensor:
        """Map normalised (B, bands, H, W) to logits, or probabilities, (B, classes, h, w)."""
        refuse_tracing(image, "a packaged graph")
        scores = self.answer(image)
        if self.activation != "none":
            scores = scores + (
                scores - scores
            )  # NaN for infinity, which the bounds below would make a number
        if self.activation == "softmax":
            scores = scores.clamp_min(torch.finfo(torch.float32).tiny).log()
        elif self.activation == "sigmoid":
            scores = torch.logit(scores, eps=torch.finfo(torch.float32).eps)
        if not self.background:
            return scores
        rest = 1 - scores if self.activation == PROBABILITIES else torch.zeros_like(scores)
        return torch.cat([rest, scores], dim=1)

    def answer(self, image: Tensor) -> Tensor:
        """Return what the graph says of (B, bands, H, W): (B, channels, h, w) float32, called as it wants to be.

        Raises
        ------
        ModelError
            If it returns no map of scores.
        """
        size = self.wiring.batch
        if size is None:
            return self._called(image)
        missing = -len(image) % size
        filled = torch.cat([image, image[-1:].expand(missing, -1, -1, -1)]) if missing else image
        return torch.cat([self._called(part) for part in torch.split(filled, size)])[: len(image)]

    def _called(self, image: Tensor) -> Tensor:
        wiring, image = self.wiring, image.to(_TYPES[self.wiring.input_type])
        if wiring.input_layout == CHANNELS_LAST:
            image = image.movedim(1, -1).contiguous()
        output = self.graph(image, *self._further)
        scores = scores_of(output, wiring.output).float()
        return scores.movedim(-1, 1).contiguous() if wiring.output_layout == CHANNELS_LAST else scores

    def train(self, mode: bool = True) -> PackagedGraph:
        """Stay in evaluation mode, the only one that a graph has."""
        self.training = False
        return self

    def to(self, *args: Any, **kwargs: Any) -> PackagedGraph:
        """Move to a device; the type of the numbers stays."""
        device = kwargs.get("device") or next((arg for arg in args if not isinstance(arg, torch.dtype)), None)
        if device is not None and isinstance(self.graph, nn.Module):
            self.graph.to(device=device)
            self._further = [one.to(device) if isinstance(one, Tensor) else one for one in self._further]
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
    wiring = wiring_of(details)
    try:
        graph = load_onnx(path, wiring) if kind == "onnx" else LOADERS[kind](path)
        if isinstance(graph, OnnxSession) and wiring.batch is None:
            wiring = replace(wiring, batch=graph.batch)
    except ModelError as error:
        raise ModelError(str(error).replace(str(path), str(name))) from error
    if isinstance(graph, nn.Module):
        refuse_no_numbers(graph.state_dict(), str(name))
    return PackagedGraph(
        graph,
        wiring=wiring,
        activation=str(details.get("activation", "none")),
        background=bool(details.get("background", False)),
    ).eval()


def scores_of(output: Any, chosen: str | None = None) -> Tensor:
    """Return the one tensor (batch, channels, rows, columns) of what a graph returns, as it is.

    Parameters
    ----------
    output
        A tensor, or a mapping or sequence that holds some.
    chosen
        Key or number from 0 of the one that holds the scores; None: the only one, or the first map.

    Raises
    ------
    ModelError
        There is none, or it holds labels, which are no scores.
    """
    if chosen is not None:
        output = named_outputs(output).get(chosen)
    elif isinstance(output, Mapping):
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


def named_outputs(output: Any) -> dict[str, Any]:
    """Return what a graph returns by key, or by number from 0."""
    if isinstance(output, Mapping):
        return {str(name): part for name, part in output.items()}
    parts = output if isinstance(output, tuple | list) else (output,)
    return {str(number): part for number, part in enumerate(parts)}
