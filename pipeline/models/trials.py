"""What was measured of a precision of a backend, and when its class map is as good as float32's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

DECIDED_MARGIN: Final = 0.1
"""A pixel is decided if its two best float32 probabilities differ by this much or more."""
REQUIRED_AGREEMENT: Final = 0.999
"""Share of decided pixels whose class must be that of float32."""


@dataclass(frozen=True, slots=True)
class PrecisionTrial:
    """What was measured of one precision of one backend."""

    precision: str
    """fp32, bf16, fp16 or int8."""
    agreement: float
    """Share of valid pixels with the class that float32 gives, 0 to 1."""
    largest_difference: float
    """Largest difference of a probability from float32."""
    seconds: float
    """Of one batch."""
    backend: str = "torch"
    """What ran the network."""
    refused: str = ""
    """Why it was not measured; agreement, difference and seconds then say nothing."""
    decided_agreement: float = 1.0
    """The same share among decided pixels; 1 if none is decided."""
    may_pass: bool = False
    """Whether the reason of the refusal may be gone at the next start, such as a full disk."""

    calibration: str = ""
    """Of int8: which calibrated networks were measured."""

    @property
    def pair(self) -> tuple[str, str]:
        """Backend and precision."""
        return self.backend, self.precision

    @property
    def is_accepted(self) -> bool:
        """Whether it changes next to no decided pixel."""
        return not self.refused and self.decided_agreement >= REQUIRED_AGREEMENT


def fastest_accepted(trials: Sequence[PrecisionTrial]) -> PrecisionTrial | None:
    """Return the fastest trial that changes next to no decided pixel, or None."""
    return min((t for t in trials if t.is_accepted), key=lambda trial: trial.seconds, default=None)


def disagreement(trial: PrecisionTrial) -> str:
    """Return what to tell a user who named a precision or backend that changes decided pixels."""
    return (
        f"--precision {trial.precision} by --backend {trial.backend}: {trial.decided_agreement:.2%} of the decided "
        f"pixels and {trial.agreement:.2%} of all pixels of the tiles it was tried on keep the class of float32; "
        f"`auto` takes nothing below {REQUIRED_AGREEMENT:.1%} of the decided ones"
    )
