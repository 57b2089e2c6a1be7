"""Reclass: classes of a class map that are merged, renamed and recoloured, by a table of codes.

It acts on classes that are decided: each code is looked up. A pixel that is water with 0.4, tree with 0.3 and shrub
with 0.3 stays water, though canopy, made of tree and shrub, would have 0.6. So a reclass at the run, at an export and
of polygons gives the same map, and needs no scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import LARGEST_CODE, ClassTable, Color, MapClass, Target
from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.grid.palette import class_color


@dataclass(frozen=True, slots=True)
class Reclass:
    """A table from codes to codes, and the classes that it leads to."""

    codes: tuple[tuple[int, int], ...]
    """Code before and after, of every class that is known."""
    classes: tuple[MapClass, ...]
    """Classes that result, by code."""
    taken: tuple[int, ...] = ()
    """Codes given to classes: where not all codes of a raster are known, none of another class may have them."""

    @property
    def table(self) -> ClassTable:
        """Classes that result, of the map of a run."""
        return ClassTable(self.classes)

    def table_after(self, before: ClassTable) -> ClassTable:
        """Return the classes that result of a table, with those of its rules of objects that still hold."""
        return ClassTable(self.classes, self.rules_after(before.objects, before.classes))

    def rules_after(self, rules: Sequence[ObjectRule], before: Sequence[MapClass]) -> tuple[ObjectRule, ...]:
        """Return rules of objects with the new names; one of a class, border or sheath that is merged is gone."""
        codes = dict(self.codes)
        alone = [after for after in codes.values() if list(codes.values()).count(after) == 1]
        names = {entry.code: entry.name for entry in self.classes}
        new = {entry.name: names[codes[entry.code]] for entry in before if codes.get(entry.code) in alone}
        return tuple(rule.renamed(new) for rule in rules if rule.is_of(list(new)))

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "codes": [list(pair) for pair in self.codes],
            "classes": [[entry.code, entry.name, list(entry.color)] for entry in self.classes],
        }

    @classmethod
    def from_plain(cls, fields: Mapping[str, Any]) -> Reclass:
        """Return it from plain JSON values."""
        return cls(
            tuple((int(before), int(after)) for before, after in fields["codes"]),
            tuple(MapClass(code, name, (c[0], c[1], c[2])) for code, name, c in fields["classes"]),
        )

    def of_map(self, codes: NDArray[np.integer], nodata: int) -> NDArray[np.integer]:
        """Return the map of a run, of any shape, in its new codes; nodata stays nodata, whatever its code is then."""
        table = self.table
        looked_up = np.full(nodata + 1, table.nodata, dtype=table.dtype)
        for before, after in self.codes:
            looked_up[before] = after
        return np.asarray(looked_up[codes])

    def sums(self, counts: Sequence[Any]) -> list[Any]:
        """Return numbers of the classes after, of those of the classes before, in the order of codes."""
        total = dict.fromkeys((entry.code for entry in self.classes), 0)
        for (_, after), count in zip(sorted(self.codes), counts, strict=True):
            total[after] += count
        return list(total.values())


def reclass_of(
    targets: Sequence[Target], classes: Sequence[MapClass], owner: str, *, is_complete: bool = True
) -> Reclass:
    """Return what targets make of classes; those that no target names keep code, name and colour.

    Parameters
    ----------
    targets
        Classes as they will be.
    classes
        As they are.
    owner
        Whose they are, as a message says it: ``model canopy-rgb``.
    is_complete
        Whether there are no further classes; else a target may name codes that are not known.

    Raises
    ------
    UsageError
        If a class is not there, or goes two ways, or two classes would have one code or one name.
    """
    known = {entry.code: entry for entry in classes}
    new: dict[int, MapClass] = {}
    way: dict[int, int] = {}
    by_target = [(target, _sources(target, classes, owner, is_complete=is_complete)) for target in targets]
    for target, sources in by_target:
        for code in sources:
            if code in way:
                msg = f"--reclass: class {_name(known, code)!r} becomes two classes; name it once"
                raise UsageError(msg)
        code = min(sources) if target.code is None else target.code
        if code in new:
            msg = f"--reclass: {new[code].name!r} and {target.name!r} both have the code {code}; give one another"
            raise UsageError(msg)
        new[code] = MapClass(code, target.name, _color_of(target, sources, known))
        way |= dict.fromkeys(sources, code)
    for entry in classes:
        if entry.code in way:
            continue
        if entry.code in new:
            msg = (
                f"--reclass: {new[entry.code].name!r} has the code {entry.code}, which {entry.name!r} keeps; give "
                "another code to one"
            )
            raise UsageError(msg)
        new[entry.code], way[entry.code] = entry, entry.code
    _refuse_names_given_twice(new, classes)
    return Reclass(
        tuple(sorted(way.items())),
        tuple(new[code] for code in sorted(new)),
        () if is_complete else tuple(sorted(set(way.values()) - {entry.code for entry in classes})),
    )


def _sources(
    target: Target, classes: Sequence[MapClass], owner: str, *, is_complete: bool
) -> tuple[int, ...]:
    """Return the codes of the classes that become a target; several may have one name."""
    found: list[int] = []
    for name in target.sources:
        named = [entry.code for entry in classes if entry.name == name]
        if not named and name.lstrip("-").isdecimal():
            named = [int(name)] if not is_complete or any(e.code == int(name) for e in classes) else []
        if not named:
            names = ", ".join(entry.name for entry in classes) or "none are known, so give codes"
            msg = f"--reclass: {target.name!r} is made of {name!r}, which {owner} has not; its classes are: {names}"
            raise UsageError(msg)
        found += named
    return tuple(found)


def _color_of(target: Target, sources: Sequence[int], known: Mapping[int, MapClass]) -> Color:
    if target.color is not None:
        return target.color
    same = [known[code] for code in sources if code in known and known[code].name == target.name]
    first = same[0] if same else known.get(min(sources))
    return class_color(min(sources)) if first is None else first.color


def _refuse_names_given_twice(new: Mapping[int, MapClass], classes: Sequence[MapClass]) -> None:
    """Refuse names of several classes; a foreign raster may have had some before."""
    before = [entry.name for entry in classes]
    names = [entry.name for entry in new.values()]
    for name in names:
        if names.count(name) > max(1, before.count(name)):
            msg = f"--reclass: two classes are called {name!r}; merge them, or give another name"
            raise UsageError(msg)


def _name(known: Mapping[int, MapClass], code: int) -> str:
    return known[code].name if code in known else str(code)


def check_codes_of_run(reclass: Reclass) -> None:
    """Refuse codes that the class map of a run cannot hold.

    Raises
    ------
    UsageError
        Naming the class and the code.
    """
    for entry in reclass.classes:
        if not 0 <= entry.code <= LARGEST_CODE:
            msg = f"--reclass: {entry.name!r} has the code {entry.code}; codes are from 0 to {LARGEST_CODE}"
            raise UsageError(msg)


def positions_of(table: ClassTable, codes: NDArray[Any]) -> NDArray[Any]:
    """Return the position of each code among the classes, of the type of the codes; nodata stays as it is."""
    if table.is_dense:
        return codes
    found = np.searchsorted(np.array(table.codes), codes).astype(codes.dtype)
    return np.where(codes == table.nodata, codes, found)
