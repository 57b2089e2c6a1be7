"""torch as it is: every operator in turn."""

from __future__ import annotations

import torch
from torch import nn

from segment_tiles.pipeline.models.backends.cuda_graph import CudaGraphRunner
from segment_tiles.pipeline.models.backends.protocol import Preparation, Runner
from segment_tiles.pipeline.models.backends.torch_threads import batches_by_threads

PRECISIONS: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""Types in which the network may run; softmax and everything after it is float32."""


class TorchEager:
    """The network itself, in one type, channels last."""

    name = "torch"
    channels_last = True
    conversion_seconds = 0.0

    def unavailable(self, device: torch.device) -> str | None:
        """Return None: it runs everywhere."""
        return None

    def precisions(self, device: torch.device) -> tuple[str, ...]:
        """Return float32 and what can be faster; float16 has no fast path on CPUs."""
        return ("fp32", "bf16") if device.type == "cpu" else ("fp32", "bf16", "fp16")

    def input_type(self, precision: str, device: torch.device) -> torch.dtype:
        """Return the type of the precision."""
        return PRECISIONS[precision]

    def batches_at_once(self, device: torch.device, precision: str) -> int:
        """Return 2 for bfloat16 on processors, each in half of the threads, and else 1.

        An operator ends when its slowest thread does, and those of bfloat16 are so short that waiting shows;
        those of float32 gain nothing, and their activations are twice as large.
        """
        return batches_by_threads() if device.type == "cpu" and precision == "bf16" else 1

    def is_prepared(self, preparation: Preparation) -> bool:
        """Return True: there is nothing to convert."""
        return True

    def prepare(self, network: nn.Module, preparation: Preparation) -> Runner:
        """Move the network to the device; on a GPU batches of the run's shape are one CUDA graph."""
        dtype = PRECISIONS[preparation.precision]
        moved = network.to(device=preparation.device, dtype=dtype).to(memory_format=torch.channels_last)
        moved.requires_grad_(requires_grad=False)
        return CudaGraphRunner(moved, preparation.shape) if preparation.device.type == "cuda" else moved


TORCH = TorchEager()
