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
    neither, the connected pieces are the objects; a sheath around them is measured, and stays what it is.
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
    sheath: str | None = None
    """Name, or code, of the class around the objects whose pixels are counted for the nearest: myelin around axons."""

    def __post_init__(self) -> None:
        if self.split_by not in {None, DISTANCE}:
            raise UsageError(
                f"objects of {self.name!r} are split by {self.split_by!r}; it must be {DISTANCE}"
            )
        if self.border is not None and self.split_by is not None:
            msg = f"objects of {self.name!r} have the border {self.border!r} and are split by distance; give one"
            raise UsageError(msg)
        if self.sheath is not None and self.is_separated:
            msg = f"objects of {self.name!r} have the sheath {self.sheath!r} and a border, or are split; give one"
            raise UsageError(msg)
        if self.name in {self.border, self.sheath}:
            raise UsageError(f"objects of {self.name!r} have the same class as {self.role}; name another")
        if self.has_reach and not 1 <= self.reach <= self.largest_reach:
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

    @property
    def has_reach(self) -> bool:
        """Whether pixels are looked for within the reach: those of the objects, or of their sheaths."""
        return self.is_separated or self.sheath is not None

    @property
    def beside(self) -> str | None:
        """The border class, or the sheath."""
        return self.border if self.sheath is None else self.sheath

    @property
    def role(self) -> str:
        """What `beside` is, in a word."""
        return "border" if self.sheath is None else "sheath"

    def is_of(self, names: Sequence[str]) -> bool:
        """Return whether the class, and its border class or sheath if it has one, are among these."""
        return self.name in names and (self.beside is None or self.beside in names)

    def renamed(self, names: Mapping[str, str]) -> ObjectRule:
        """Return the same rule of classes with new names."""
        border, sheath = (None if name is None else names[name] for name in (self.border, self.sheath))
        return replace(self, name=names[self.name], border=border, sheath=sheath)

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
        if not self.has_reach or factor == 1:
            return replace(self, min_pixels=pixels)
        reach = min(max(1, round(self.reach * factor)), self.largest_reach)
        return replace(self, reach=reach, depth=self.depth * factor, min_pixels=pixels)

    def to_json(self) -> dict[str, Any]:
        """Return what a model package says of the class, as plain JSON values."""
        size = {"min_pixels": self.min_pixels} if self.min_pixels else {}
        if self.border is not None:
            return {"border": self.border, "reach": self.reach, **size}
        if self.sheath is not None:
            return {"sheath": self.sheath, "reach": self.reach, **size}
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
        if rule.has_reach and rule.reach == rule.largest_reach
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
            entry.get("sheath"),
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
        if rule.beside is not None and rule.beside not in names:
            msg = (
                f"{owner} has objects of {rule.name!r} with the {rule.role} {rule.beside!r}, which is none of its "
                f"classes: {known}"
            )
            raise UsageError(msg)
        if rule.border in {other.name for other in rules}:
            raise UsageError(
                f"{owner}: {rule.border!r} is the border of {rule.name!r} and has objects itself"
            )
