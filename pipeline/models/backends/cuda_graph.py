"""A forward pass as one CUDA graph: the GPU replays its kernels without waiting for Python to launch each.

All batches of a run have one shape, so the graph is captured once, at the first of them.
See "CUDA Graphs" in the notes of torch's documentation.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

WARM_UP_PASSES = 3
"""Before the capture: libraries choose their algorithms and allocate their workspaces in the first ones."""

log = logging.getLogger(__name__)


class CudaGraphRunner:
    """Runs a network on a GPU; batches of the shape of the run by a captured graph.

    Other shapes, such as those that the probe tries to find the batch, and networks that cannot be captured
    (which is logged) run operator by operator: the kernels, and so the numbers, are the same.

    Parameters
    ----------
    network
        On the GPU, in evaluation mode.
    shape
        Of the batches of the run: batch, bands, T, T.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, int, int, int]) -> None:
        self._network, self._shape = network, shape
        self._graph: torch.cuda.CUDAGraph | None = None
        self._may_capture = True

    def __call__(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes, T, T); the next call of the graph overwrites them."""
        if tuple(image.shape) != self._shape or not self._may_capture:
            return self._run(image)
        if self._graph is None:
            self._capture(image)
            if self._graph is None:
                return self._run(image)
        self._input.copy_(image)
        self._graph.replay()
        return self._output

    def _run(self, image: Tensor) -> Tensor:
        logits: Tensor = self._network(image)
        return logits

    def _capture(self, image: Tensor) -> None:
        self._input = image.clone(memory_format=torch.preserve_format)
        graph = torch.cuda.CUDAGraph()
        beside: torch.cuda.Stream = torch.cuda.Stream(image.device)  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream(image.device))
        try:
            with torch.cuda.stream(beside):
                for _ in range(WARM_UP_PASSES):
                    self._network(self._input)
            torch.cuda.current_stream(image.device).wait_stream(beside)
            with torch.cuda.graph(graph):
                self._output = self._run(self._input)
        except RuntimeError as error:
            self._may_capture = False
            log.warning("the network cannot be captured as a CUDA graph and runs without: %s", error)
            return
        self._graph = graph
