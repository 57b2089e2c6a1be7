"""Which device computes."""

from __future__ import annotations

import torch

from segment_tiles.pipeline.errors import UsageError


def resolve_device(name: str) -> torch.device:
    """Return the device that a user names: ``auto`` is the first CUDA device, else the CPU.

    Raises
    ------
    UsageError
        If the name is not known or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        msg = f"--device is {name!r}; it must be auto, cpu, cuda or cuda:N"
        raise UsageError(msg)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        msg = (
            f"--device is {name!r}, but this machine offers {count} CUDA devices; see `segment-tiles doctor`"
        )
        raise UsageError(msg)
    return torch.device("cuda", int(index or 0))


def device_label(device: torch.device) -> str:
    """Return what computes, for reports and fingerprints: ``cpu`` or the name of the GPU."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
