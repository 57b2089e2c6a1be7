"""One or several training processes (torchrun): the rank of this one, and what only the first does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

Value = TypeVar("Value")

PATIENCE = timedelta(days=1)
"""How long a process waits for the first one, which scores whole scenes while the others do nothing. A process
that dies is noticed by torchrun, not by this."""


@dataclass(frozen=True, slots=True)
class TrainingProcess:
    """Rank of this process among those that torchrun started; the only one without torchrun."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """True in the process that validates, logs and writes."""
        return self.rank == 0

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Return the network whose gradients are averaged over all processes."""
        if self.count == 1:
            return network
        if device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
            return DistributedDataParallel(network, device_ids=[device])
        # every rank keeps its own batch statistics while training; those of the first are broadcast
        return DistributedDataParallel(network)

    def agree(self, value: bool) -> bool:
        """Return what the first process says."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def gather(self, value: Value) -> list[Value]:
        """Return what each process says, in the order of ranks."""
        if self.count == 1:
            return [value]
        values = [value] * self.count
        distributed.all_gather_object(values, value)
        return values

    def own_device(self, device: torch.device) -> torch.device:
        """Return the device of this process: each has a GPU of its own."""
        if device.type != "cuda" or self.count == 1:
            return device
        return torch.device("cuda", self.local_rank)


@contextmanager
def training_process(device: torch.device) -> Iterator[TrainingProcess]:
    """Join the processes that torchrun started (its environment says how many), and leave them at the end."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield TrainingProcess()
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        torch.cuda.set_device(local_rank)  # the GPU that NCCL sends from
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield TrainingProcess(distributed.get_rank(), count, local_rank)
    finally:
        distributed.destroy_process_group()
