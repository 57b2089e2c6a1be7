"""The options by which classes are given: declared once, for `run`, `plan`, `batch`, `schedule` and `export`."""

from __future__ import annotations

from dataclasses import dataclass

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import split_names
from segment_tiles.workflows.options.declare import option
from segment_tiles.workflows.options.polygons import MapSettings


def parse_thresholds(text: str) -> tuple[str, ...]:
    """Return the entries of a list such as water=0.4,road=0.7, each a name and a score.

    >>> parse_thresholds('water=0.40, "trees, tall=.7"')
    ('water=0.4', 'trees, tall=0.7')

    Raises
    ------
    UsageError
        If an entry is no NAME=SCORE with a score above 0 and below 1.
    """
    return tuple(f"{name}={score!r}" for name, score in map(named_score, split_names(text)))


def named_score(text: str) -> tuple[str, float]:
    """Return name and score of an entry; the name may have a ``=`` in it.

    Raises
    ------
    UsageError
        If it is none.
    """
    name, sign, score = text.rpartition("=")
    if not sign or not name.strip():
        msg = f"--threshold is {text!r}; give a class and its score, such as water=0.4"
        raise UsageError(msg)
    return name.strip(), _share("--threshold", text, score)


def parse_unsure(text: str) -> float:
    """Return a score above 0 and below 1.

    Raises
    ------
    UsageError
        If it is none.
    """
    return _share("--unsure", text, text)


def _share(option_name: str, text: str, number: str) -> float:
    try:
        share = float(number)
    except ValueError:
        share = float("nan")
    if not 0 < share < 1:
        msg = f"{option_name} is {text}; give a score above 0 and below 1, such as 0.4"
        raise UsageError(msg)
    return share


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedSettings(MapSettings):
    """How classes are given to pixels, and what leaves of them."""

    threshold: tuple[str, ...] = option(
        "A class wins wherever its score reaches V, and nowhere else; the others by the highest score.",
        default=(),
        metavar="NAME=V,..",
        parse=parse_thresholds,
    )
    unsure: float | None = option(
        "Pixels whose highest score is below V become a class of their own, 'not sure'.",
        default=None,
        metavar="V",
        parse=parse_unsure,
    )

    @property
    def thresholds(self) -> tuple[tuple[str, float], ...]:
        """Names of classes and the scores that they must reach."""
        return tuple(map(named_score, self.threshold))
