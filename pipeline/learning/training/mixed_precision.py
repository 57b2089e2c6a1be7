"""In which numbers the network computes while it learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from segment_tiles.pipeline.learning.settings import TrainingPrecision

_GROUPS: Final = 6
"""Position of the groups among the arguments of a convolution."""


@contextmanager
def autocast(precision: TrainingPrecision, device: torch.device) -> Iterator[None]:
    """Compute a forward pass, and so its backward pass, in a precision of `TrainingSettings`."""
    chosen = _chosen(precision, device)
    if chosen == "fp32":
        yield
    elif chosen == "bf16":
        with torch.autocast(device.type, torch.bfloat16):
            yield
    else:
        with torch.autocast(device.type, torch.bfloat16), _GroupsInFloat32():
            yield


def _chosen(precision: TrainingPrecision, device: torch.device) -> TrainingPrecision:
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "mixed" if torch.cpu.get_capabilities().get("avx512_bf16") else "fp32"


class _GroupsInFloat32(TorchFunctionMode):
    """Convolutions in groups, depthwise ones among them, compute in float32 within bf16 autocast.

    Their backward pass in bf16 is slow in oneDNN (decision 0180). What goes in and comes out is what it is without, and
    where a network turns autocast off nothing is changed.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch."""
        given = kwargs or {}
        if func is not torch.conv2d or _groups(args, given) == 1:
            return func(*args, **given)
        device = (args[0] if args else given["input"]).device.type
        if not torch.is_autocast_enabled(device):
            return func(*args, **given)
        with torch.autocast(device, enabled=False):
            wide: list[Any] = [_wide(value) for value in args]
            return func(*wide, **{name: _wide(value) for name, value in given.items()}).to(torch.bfloat16)


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value


def _groups(args: Sequence[Any], given: dict[str, Any]) -> int:
    groups: int = args[_GROUPS] if len(args) > _GROUPS else given.get("groups", 1)
    return groups
