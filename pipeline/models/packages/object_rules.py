"""Rules of objects of a model package: each holds for every head that has its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.objects import ObjectRule, check_rules, rules_of_json
from segment_tiles.pipeline.models.packages.item_fields import ObjectFields


def with_rules(
    tables: Sequence[ClassTable], objects: Mapping[str, ObjectFields], name: object
) -> tuple[ClassTable, ...]:
    """Return the classes of each head with the rules of objects that are of them.

    Parameters
    ----------
    tables
        Of each head; of a model with one output its classes alone.
    objects
        By name of the class.
    name
        Of the file, as errors call it.

    Raises
    ------
    ModelError
        If a rule is none, or is of classes that no head has.
    """
    owner = f"segment_tiles:objects of {name}"
    try:
        rules = rules_of_json({key: entry.model_dump() for key, entry in objects.items()})
        for rule in rules:
            if not any(rule.is_of(table.names) for table in tables):
                _refuse(rule, tables, owner)
        made = [tuple(rule for rule in rules if rule.is_of(table.names)) for table in tables]
        for table, own in zip(tables, made, strict=True):
            check_rules(own, table.names, owner)
    except UsageError as error:
        raise ModelError(str(error)) from error
    return tuple(ClassTable(table.classes, own) for table, own in zip(tables, made, strict=True))


def _refuse(rule: ObjectRule, tables: Sequence[ClassTable], owner: str) -> None:
    """Say which class of a rule is missing, or that its two classes are of different heads."""
    check_rules([rule], [*dict.fromkeys(known for table in tables for known in table.names)], owner)
    msg = f"{owner} has objects of {rule.name!r} with the {rule.role} {rule.beside!r}, but no head has both classes"
    raise UsageError(msg)
