"""Rules by which the classes of a map become objects: nuclei that touch, and yet are counted one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from segment_tiles.pipeline.errors import UsageError

DISTANCE: Final = "distance"
"""How a class without a border class is separated: by its distance from what is around it."""
USUAL_REACH: Final = 16
"""Pixels, of objects that are separated by distance."""
USUAL_DEPTH: Final = 1.0
"""Pixels that the distance must fall between two objects."""
LARGEST_REACH: Final = 1024
"""Pixels: what a vector tile reads around it."""
LARGEST_SPLIT_REACH: Final = 256
"""Pixels, of objects that are separated by distance: a vector tile reads four times as much around it, and must fit
into the memory that the Plan has for it."""


@dataclass(frozen=True, slots=True)
class ObjectRule:
    """How one class becomes objects.

    With a border class the seeds are the connected pieces of the class, and each pixel of the border class goes to the
    nearest seed. Separated by distance, the seeds are the middles of the class, and the rest of it goes to them. With
    neither, the connected pieces are the objects.
    """

    name: str
    """Name of the class, or its code as text."""
    border: str | None = None
    """Name, or code, of the class between touching objects."""
    reach: int = 0
    """Pixels from the nearest seed up to which a pixel belongs to it, from centre to centre."""
    split_by: str | None = None
    """``distance``, or None."""
    depth: float = USUAL_DEPTH
    """Pixels by which the distance must fall between two objects that are separated by distance."""
    min_pixels: int = 0
    """Objects of fewer pixels, those of their border among them, are left out: what the model makes of noise."""

    def __post_init__(self) -> None:
        if self.split_by not in {None, DISTANCE}:
            raise UsageError(
                f"objects of {self.name!r} are split by {self.split_by!r}; it must be {DISTANCE}"
            )
        if self.border is not None and self.split_by is not None:
            msg = f"objects of {self.name!r} have the border {self.border!r} and are split by distance; give one"
            raise UsageError(msg)
        if self.border == self.name:
            raise UsageError(f"objects of {self.name!r} have the same class as border; name another")
        if self.is_separated and not 1 <= self.reach <= self.largest_reach:
            how = "" if self.split_by is None else " split by distance"
            msg = f"objects of {self.name!r}{how} have a reach of {self.reach} px; it must be 1 to {self.largest_reach}"
            raise UsageError(msg)
        if not self.depth > 0:
            raise UsageError(f"objects of {self.name!r} have a depth of {self.depth}; it must be more than 0")
        if self.min_pixels < 0:
            msg = f"objects of {self.name!r} have {self.min_pixels} pixels at least; it must be 0 or more"
            raise UsageError(msg)

    @property
    def is_separated(self) -> bool:
        """Whether pixels go to the nearest seed."""
        return self.border is not None or self.split_by is not None

    def is_of(self, names: Sequence[str]) -> bool:
        """Return whether the class, and its border class if it has one, are among these."""
        return self.name in names and (self.border is None or self.border in names)

    @property
    def largest_reach(self) -> int:
        """Pixels that the reach may have."""
        return LARGEST_REACH if self.split_by is None else LARGEST_SPLIT_REACH

    def scaled(self, factor: float) -> ObjectRule:
        """Return the same rule for a map whose pixels are so many times smaller.

        >>> ObjectRule("crown", "gap", 3).scaled(2.0).reach, ObjectRule("crown", "gap", 3).scaled(0.1).reach
        (6, 1)
        """
        pixels = round(self.min_pixels * factor**2)
        if not self.is_separated or factor == 1:
            return replace(self, min_pixels=pixels)
        reach = min(max(1, round(self.reach * factor)), self.largest_reach)
        return replace(self, reach=reach, depth=self.depth * factor, min_pixels=pixels)

    def to_json(self) -> dict[str, Any]:
        """Return what a model package says of the class, as plain JSON values."""
        size = {"min_pixels": self.min_pixels} if self.min_pixels else {}
        if self.border is not None:
            return {"border": self.border, "reach": self.reach, **size}
        if self.split_by is not None:
            return {"split_by": self.split_by, "reach": self.reach, "depth": self.depth, **size}
        return size


def cut_reach_notes(rules: Sequence[ObjectRule]) -> tuple[str, ...]:
    """Return what to tell of rules, scaled with a grid, that reach as far as any may: more may have been wanted.

    >>> cut_reach_notes([ObjectRule("crown", "gap", 3).scaled(400.0), ObjectRule("crown", "gap", 3)])
    ('objects of crown reach 1024 px on this grid, the most there is: the model may want more',)
    """
    return tuple(
        f"objects of {rule.name} reach {rule.reach} px on this grid, the most there is: the model may want more"
        for rule in rules
        if rule.is_separated and rule.reach == rule.largest_reach
    )


def rules_json(rules: Sequence[ObjectRule]) -> dict[str, dict[str, Any]]:
    """Return rules by class, as model packages and stores hold them.

    >>> rules_json([ObjectRule("nucleus", "nucleus border", 6)])
    {'nucleus': {'border': 'nucleus border', 'reach': 6}}
    """
    return {rule.name: rule.to_json() for rule in rules}


def rules_of_json(found: Mapping[str, Mapping[str, Any]]) -> tuple[ObjectRule, ...]:
    """Return the rules that a model package or a store holds.

    Raises
    ------
    UsageError
        If one is none.
    """
    return tuple(
        ObjectRule(
            name,
            entry.get("border"),
            int(entry.get("reach", 0)),
            entry.get("split_by"),
            float(entry.get("depth", USUAL_DEPTH)),
            int(entry.get("min_pixels", 0)),
        )
        for name, entry in found.items()
    )


def check_rules(rules: Sequence[ObjectRule], names: Sequence[str], owner: str) -> None:
    """Refuse rules of classes that are not there, or that contradict each other.

    Parameters
    ----------
    rules
        Of classes by name.
    names
        Of all classes.
    owner
        Whose they are, as a message says it: ``model nuclei``.

    Raises
    ------
    UsageError
        Naming the class, and those that there are.
    """
    known = ", ".join(names)
    for rule in rules:
        if rule.name not in names:
            raise UsageError(f"{owner} has objects of {rule.name!r}, which is none of its classes: {known}")
        if rule.border is not None and rule.border not in names:
            msg = (
                f"{owner} has objects of {rule.name!r} with the border {rule.border!r}, which is none of its classes: "
                f"{known}"
            )
            raise UsageError(msg)
        if rule.border in {other.name for other in rules}:
            raise UsageError(
                f"{owner}: {rule.border!r} is the border of {rule.name!r} and has objects itself"
            )
