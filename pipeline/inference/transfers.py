"""Between the memory of the host and that of the device that computes.

::

    host       pinned tiles --.            .--> pinned rows, handed over one row of tiles later
    up stream                 '-> copy     |
    main stream      network, blend, argmax, network, blend, argmax ...
    down stream                            '-- copy of finished rows

On a GPU neither direction makes the host wait for the network, nor the network for a copy: the host has
queued the next row of tiles by the time it takes the rows before. On a CPU there is nothing to move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor


class Arrival(Protocol):
    """Values on their way to the host."""

    def array(self) -> NDArray[Any]:
        """Wait for them and return them."""
        ...


class Transfers(Protocol):
    """Moves values up to the device and down to the host."""

    rows_behind: int
    """Finished rows of tiles that wait on the device side, so that their copy has time."""

    def up(self, values: Tensor) -> Tensor:
        """Return values of the host on the device."""
        ...

    def down(self, values: Tensor) -> Arrival:
        """Begin to bring values of the device to the host."""
        ...


def transfers_for(device: torch.device) -> Transfers:
    """Return what moves values to a device and back."""
    return CudaTransfers(device) if device.type == "cuda" else HostTransfers()


@dataclass(frozen=True, slots=True)
class Arrived:
    """Values that are there."""

    values: Tensor
    """On the host."""

    def array(self) -> NDArray[Any]:
        """Return them."""
        return self.values.numpy()


class HostTransfers:
    """The CPU computes in the memory of the host."""

    rows_behind = 0

    def up(self, values: Tensor) -> Tensor:
        """Return them as they are."""
        return values

    def down(self, values: Tensor) -> Arrived:
        """Return them as they are."""
        return Arrived(values)


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that a stream makes."""

    values: Tensor
    """Pinned memory of the host, filled by then."""
    done: torch.cuda.Event
    """Recorded after the copy."""

    def array(self) -> NDArray[Any]:
        """Wait for the copy and return it."""
        self.done.synchronize()
        return self.values.numpy()


class CudaTransfers:
    """Copies through pinned memory, on a stream per direction.

    torch's allocator of pinned memory knows which copies are under way and reuses their memory only after them.
    """

    rows_behind = 1

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._up: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._down: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def up(self, values: Tensor) -> Tensor:
        """Copy while the device computes; what is queued after this waits for the copy."""
        pinned = values.pin_memory()
        with torch.cuda.stream(self._up):
            moved = pinned.to(self._device, non_blocking=True)
        main = torch.cuda.current_stream(self._device)
        main.wait_stream(self._up)
        moved.record_stream(main)  # keeps its memory from being reused while the main stream still reads it
        return moved

    def down(self, values: Tensor) -> Copy:
        """Copy while the device computes what comes next."""
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            host.copy_(values, non_blocking=True)
            values.record_stream(self._down)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(self._down)
        return Copy(host, done)
