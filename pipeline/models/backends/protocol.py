"""What all backends have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:  # the names of backends are asked for where torch is not needed
    from collections.abc import Callable

    import torch
    from torch import Tensor, nn

    from segment_tiles.pipeline.models.calibration.calibrated import Calibrated

Runner: TypeAlias = "Callable[[Tensor], Tensor]"
"""Maps normalised (batch, bands, T, T) to logits (batch, classes, T, T) on the same device."""

CONVERSION_FAILURES = (
    RuntimeError,
    TypeError,
    ValueError,
    AssertionError,
    LookupError,
    AttributeError,
    OSError,
)
"""What exporters raise for a network that they cannot convert; every library has classes of its own below."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """For what a backend prepares a network."""

    shape: tuple[int, int, int, int]
    """Of every input: batch, bands, T, T."""
    device: torch.device
    """Where it runs."""
    precision: str
    """fp32, bf16, fp16 or int8."""
    checksum: str
    """Of weights and architecture; empty: the network is not that of a package, and nothing is kept."""
    folder: Path | None = None
    """Package beside which a converted model may be kept; None: in the user's cache folder."""
    calibrated: Calibrated | None = None
    """Of int8: the network with the ranges of its activations."""


@runtime_checkable
class Backend(Protocol):
    """One way to run a network.

    Third parties add one by an entry point of the group ``segment_tiles.backends``, of the same name.
    """

    name: str
    """As ``--backend`` spells it."""
    channels_last: bool
    """Whether its input lies in memory as batch, row, column, band."""
    conversion_seconds: float
    """What the first preparation of a network takes, roughly; ``auto`` weighs it against the run."""

    def unavailable(self, device: torch.device) -> str | None:
        """Return why it cannot run here and what to do, or None if it can."""
        ...

    def precisions(self, device: torch.device) -> tuple[str, ...]:
        """Return what it can compute in on a device; the first is the one closest to float32."""
        ...

    def input_type(self, precision: str, device: torch.device) -> torch.dtype:
        """Return the type of its input."""
        ...

    def batches_at_once(self, device: torch.device, precision: str) -> int:
        """Return how many threads should call what `prepare` returns to keep the device busy.

        Together they take as many threads of the processor as torch has, which must be a multiple.
        """
        ...

    def is_prepared(self, preparation: Preparation) -> bool:
        """Return whether `prepare` finds its conversion of an earlier start."""
        ...

    def prepare(self, network: nn.Module, preparation: Preparation) -> Runner:
        """Convert a float32 network in evaluation mode, or load what was converted before.

        Raises
        ------
        ModelError
            If this network cannot be converted.
        """
        ...
