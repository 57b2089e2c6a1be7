"""The options of `segment-tiles tune`, declared once; those on how scenes are read are those of a run."""

from __future__ import annotations

from dataclasses import dataclass

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.options.declare import argument, option


@dataclass(frozen=True, slots=True)
class TuneConfig:
    """What is tuned, as asked for.

    Raises
    ------
    UsageError
        If there is no time.
    """

    model: str = argument("Bundled model, or folder of a model package.", metavar="MODEL")
    calibrate: tuple[str, ...] = option(
        "First calibrate the model for int8 on tiles of this scene; may be given several times.",
        default=(),
        metavar="SCENE",
    )
    seconds: float = option(
        "Begin nothing further after so long; compile takes part from about 120.",
        default=50.0,
        metavar="S",
    )

    def __post_init__(self) -> None:
        if not self.seconds >= 1:
            msg = f"--seconds is {self.seconds:g}; give a number from 1"
            raise UsageError(msg)
