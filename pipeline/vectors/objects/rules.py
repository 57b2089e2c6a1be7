"""Rules of objects in the codes of one raster."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.vectors.geometry.objects.labels import ObjectSelection
from segment_tiles.pipeline.vectors.objects.middles import halo_of
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec
from segment_tiles.pipeline.vectors.rasters.identities import MOST_RULES, Identities, rules_of_keys
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection, class_codes, class_selection
from segment_tiles.pipeline.wording import counted


@dataclass(frozen=True, slots=True)
class CodeRule:
    """How one class code becomes objects."""

    code: int
    """Of the class."""
    borders: tuple[int, ...]
    """Codes of its border class."""
    sheaths: tuple[int, ...]
    """Codes of the class of its sheath."""
    rule: ObjectRule
    """What is asked for."""


@dataclass(frozen=True, slots=True)
class Group:
    """Pixels of one code, and the rules whose seeds they go to, or are counted for."""

    code: int
    """Of a border class, of a class that is split by distance, or of a sheath."""
    rules: tuple[int, ...]
    """Numbers of the rules."""


@dataclass(frozen=True, slots=True)
class CodeRules:
    """How the codes of a raster become objects."""

    rules: tuple[CodeRule, ...]
    """By number."""
    connectivity: int
    """Of seeds: 4 or 8."""

    @property
    def identities(self) -> Identities:
        """What the numbers of objects mean."""
        margins = (rule.rule.reach if rule.rule.is_separated else 1 for rule in self.rules)
        sizes = (rule.rule.min_pixels for rule in self.rules)
        return Identities(tuple(rule.code for rule in self.rules), tuple(margins), tuple(sizes))

    @property
    def reach(self) -> int:
        """The longest, in pixels."""
        return max((rule.rule.reach for rule in self.rules if rule.rule.has_reach), default=0)

    @property
    def halo(self) -> int:
        """Pixels around a window that decide on the seeds inside; 0: each pixel of a class is one."""
        return max((halo_of(rule.rule.reach) for rule in self.rules if rule.rule.split_by), default=0)

    @property
    def borders(self) -> tuple[int, ...]:
        """Codes of all border classes."""
        return tuple(sorted({code for rule in self.rules for code in rule.borders}))

    @property
    def sheaths(self) -> tuple[int, ...]:
        """Codes of the classes of all sheaths."""
        return tuple(sorted({code for rule in self.rules for code in rule.sheaths}))

    @property
    def selection(self) -> ClassSelection:
        """Codes of which seeds are made."""
        return ClassSelection(tuple(rule.code for rule in self.rules), ())

    @property
    def groups(self) -> tuple[Group, ...]:
        """Pixels that go to seeds, and to which."""
        groups = [
            Group(border, tuple(n for n, rule in enumerate(self.rules) if border in rule.borders))
            for border in self.borders
        ]
        groups += [Group(rule.code, (n,)) for n, rule in enumerate(self.rules) if rule.rule.split_by]
        return tuple(groups)

    @property
    def sheath_groups(self) -> tuple[Group, ...]:
        """Pixels of sheaths, and the rules whose objects they are counted for."""
        return tuple(
            Group(code, tuple(n for n, rule in enumerate(self.rules) if code in rule.sheaths))
            for code in self.sheaths
        )

    @property
    def with_sheath(self) -> tuple[int, ...]:
        """Numbers of the rules whose objects may have a sheath."""
        return tuple(n for n, rule in enumerate(self.rules) if rule.sheaths)

    def are_too_small(self, rules: NDArray[np.int64], pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return True for connected pieces with fewer pixels than an object with a sheath may have.

        They are left out, and so take nothing from the sheaths of others.
        """
        least = [rule.rule.min_pixels if rule.rule.sheath is not None else 0 for rule in self.rules]
        return np.asarray(pixels < np.array(least, dtype=np.int64)[rules])

    def reach_of(self, group: Group) -> int:
        """Return the reach of the seeds of a group, in pixels."""
        return self.rules[group.rules[0]].rule.reach

    def keys_for(self, group: Group, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the keys of seeds that pixels of a group may go to; `NONE` elsewhere."""
        if len(group.rules) == len(self.rules):
            return keys
        return np.where(np.isin(rules_of_keys(keys), group.rules), keys, 0)

    def numbers(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the rule of each code, all of which have one."""
        known = np.array([rule.code for rule in self.rules], dtype=np.int64)
        order = np.argsort(known)
        return np.asarray(order[np.searchsorted(known[order], codes)])


def code_rules(spec: ClassRasterSpec, options: PolygonizeOptions) -> CodeRules | None:
    """Return the rules in the codes of a raster; None if no objects are asked for."""
    if not options.objects:
        return None
    rules = tuple(
        CodeRule(code, _codes(spec, rule.border), _codes(spec, rule.sheath), rule)
        for rule in options.objects
        for code in class_codes(spec, rule.name)
    )
    return CodeRules(rules, options.connectivity)


def _codes(spec: ClassRasterSpec, name: str | None) -> tuple[int, ...]:
    return () if name is None else class_codes(spec, name)


def feature_selection(spec: ClassRasterSpec, options: PolygonizeOptions) -> ClassSelection:
    """Return what becomes features: of objects their identities, and no border class."""
    selection, rules = class_selection(spec, options), code_rules(spec, options)
    if rules is None:
        return selection
    unwanted = (*selection.unwanted, *rules.borders)
    return ObjectSelection(selection.wanted, unwanted, rules.identities)


def check_objects(spec: ClassRasterSpec, options: PolygonizeOptions) -> None:
    """Refuse rules of objects that the raster or the options do not allow, before anything is computed.

    Raises
    ------
    VectorError, UsageError
        When a class is not in the raster, a reach is larger than a vector tile, or a class has two roles.
    """
    rules = code_rules(spec, options)
    if rules is None:
        return
    if spec.masks:
        msg = f"classes of the raster may overlap: {rules.rules[0].rule.name!r} has no objects; say --objects none"
        raise UsageError(msg)
    codes = [rule.code for rule in rules.rules]
    if len(codes) > MOST_RULES:
        raise UsageError(
            f"--objects names {counted(len(codes), 'class', 'classes')}; at most {MOST_RULES} are possible"
        )
    twice = [code for code, number in Counter(codes).items() if number > 1]
    if twice:
        raise UsageError(f"--objects names the class {_name(spec, twice[0])!r} twice; name it once")
    both = sorted(set(codes) & set(rules.borders))
    if both:
        msg = f"--objects: {_name(spec, both[0])!r} is the border of a class and has objects itself; leave one out"
        raise UsageError(msg)
    if rules.reach > options.vector_tile:
        msg = (
            f"objects have a reach of {rules.reach} px, but vector tiles a side of {options.vector_tile} px; give a "
            "smaller reach, or to polygonize a larger --vector-tile"
        )
        raise UsageError(msg)
    for group in (*rules.groups, *rules.sheath_groups):
        reaches = sorted({rules.rules[n].rule.reach for n in group.rules})
        if len(reaches) > 1:
            name = _name(spec, group.code)
            role = rules.rules[group.rules[0]].rule.role
            msg = f"--objects: classes with the {role} {name!r} have the reaches {reaches}; give them one"
            raise UsageError(msg)
    _check_selection(spec, options, rules)


def _check_selection(spec: ClassRasterSpec, options: PolygonizeOptions, rules: CodeRules) -> None:
    """Refuse to select a border class alone, or objects of a class that becomes no feature."""
    wanted = {code for name in options.classes for code in class_codes(spec, name)}
    borders = sorted(wanted & set(rules.borders))
    if borders:
        msg = (
            f"--classes names {_name(spec, borders[0])!r}, whose pixels belong to the objects beside them; leave it "
            "out, or say --objects none"
        )
        raise UsageError(msg)
    selection = class_selection(spec, options)
    chosen = selection.selects(np.array([rule.code for rule in rules.rules]))
    if not chosen.any():
        names = ", ".join(_name(spec, rule.code) for rule in rules.rules)
        msg = f"none of the classes with objects ({names}) becomes a polygon; name one by --classes"
        raise UsageError(msg)


def _name(spec: ClassRasterSpec, code: int) -> str:
    return next((entry.name for entry in spec.classes if entry.code == code), str(code))
