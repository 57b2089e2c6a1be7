"""What may be said of how values are scaled; declared once."""

from __future__ import annotations

from dataclasses import dataclass

from segment_tiles.pipeline.models.scaling.text import SUFFIXES, parse_scaling
from segment_tiles.workflows.options.declare import option


def names_scaling_file(text: str) -> bool:
    """Return whether a scaling is said in a file.

    >>> names_scaling_file("mine.json"), names_scaling_file("min-max:0,3000")
    (True, False)
    """
    return text.lower().endswith(SUFFIXES)


def parse_scaling_name(text: str) -> str:
    """Return the text of a scaling, which is checked, or the name of a file, which is read with the model.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if not names_scaling_file(text):
        parse_scaling(text)
    return text


@dataclass(
    frozen=True, kw_only=True
)  # no slots: of the classes that one inherits, a single one may have some
class ScalingSettings:
    """How values are scaled, if not as the model says."""

    scaling: str | None = option(
        "Scale values in this way, not as the model says: z-score:tile, min-max:0,3000, clip:0,3000+scale:3000, "
        "physical+scale:0.3 ..., or a JSON or YAML file; see docs/models.md.",
        default=None,
        metavar="SCALING",
        parse=parse_scaling_name,
        is_file=True,
    )
