"""The file of ``--reclass``: classes as they will be, in YAML, JSON or CSV."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from segment_tiles.pipeline.errors import UsageError, one_line
from segment_tiles.pipeline.grid.classes import Color, Target

COLUMNS: Final = ("from", "to", "color", "code")
"""Of a CSV file; the last two may be missing."""
_KEYS: Final = ("from", "color", "code")
_LARGEST_FILE: Final = 2**20
"""Bytes: a table of 65,535 classes is smaller."""


def read_targets(path: Path) -> tuple[Target, ...]:
    """Return the classes that a file describes; those that it does not name stay as they are.

    ::

        canopy: {from: [tree, shrub], color: "#00aa00", code: 1}     canopy: [tree, shrub]     bare ground: soil

    Raises
    ------
    UsageError
        With the file, the class and what is accepted.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise _wrong(path, "has more than 1 MiB, so it is no table of classes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise _wrong(path, f"cannot be read: {reason}; give a YAML, JSON or CSV file") from error
    if path.suffix.lower() == ".csv":
        return _targets_of_rows(path, text)
    pairs = _pairs_of_json(path, text) if path.suffix.lower() == ".json" else _pairs_of_yaml(path, text)
    return tuple(_target(path, name, said) for name, said in pairs)


def _wrong(path: Path, text: str) -> UsageError:
    return UsageError(f"--reclass {path}: {text}")


def _pairs_of_yaml(path: Path, text: str) -> list[tuple[str, Any]]:
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            return _checked_pairs(path, [])
        for key, value in root.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong(path, "has a class whose name is a list or a mapping; give a text")
            if isinstance(value, yaml.MappingNode):
                _refuse_keys_given_twice(path, key.value, [inner.value for inner, _ in value.value])
        names = [str(key.value) for key, _ in root.value]
        return _checked_pairs(path, list(zip(names, _constructed(root), strict=True)))
    except yaml.YAMLError as error:
        raise _wrong(path, f"is not YAML: {one_line(error)}") from error


def _constructed(root: yaml.MappingNode) -> list[Any]:
    """Return the values of a mapping, also of keys that come twice, of which YAML itself takes the last."""
    loader = yaml.SafeLoader("")
    try:
        return [loader.construct_document(value) for _, value in root.value]
    finally:
        loader.dispose()


def _pairs_of_json(path: Path, text: str) -> list[tuple[str, Any]]:
    try:
        document = json.loads(text, object_pairs_hook=_Object)
    except ValueError as error:
        raise _wrong(path, f"is not JSON: {one_line(error)}") from error
    pairs = document.pairs if isinstance(document, _Object) else []
    for name, value in pairs:
        if isinstance(value, _Object):
            _refuse_keys_given_twice(path, name, [key for key, _ in value.pairs])
    return _checked_pairs(path, pairs)


class _Object(dict[str, Any]):
    """A JSON object that knows keys that come twice, of which JSON itself takes the last."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _refuse_keys_given_twice(path: Path, name: str, keys: Sequence[Any]) -> None:
    for key in keys:
        if keys.count(key) > 1:
            raise _wrong(path, f"{name!r} has the key {key} twice; keep one")


def _checked_pairs(path: Path, pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    if not pairs:
        raise _wrong(path, "names no class; give a mapping such as canopy: [tree, shrub]")
    names = [name.strip() for name, _ in pairs]
    for name in names:
        if not name:
            raise _wrong(path, "has a class without a name; give it one")
        if names.count(name) > 1:
            raise _wrong(path, f"{name!r} is there twice; keep one")
    return [(name, said) for name, (_, said) in zip(names, pairs, strict=True)]


def _target(path: Path, name: str, said: Any) -> Target:
    """Return what a file says of one class."""
    if not isinstance(said, Mapping):
        said = {"from": said}
    for key in said:
        if key not in _KEYS:
            raise _wrong(path, f"{name!r} has the key {str(key)!r}; known are {', '.join(_KEYS)}")
    color, code = said.get("color"), said.get("code")
    return Target(
        name,
        _names(path, name, said.get("from", name)),
        None if color is None else _color(path, name, color),
        None if code is None else _code(path, name, code),
    )


def _names(path: Path, name: str, value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    is_code = [isinstance(entry, int) and not isinstance(entry, bool) for entry in values]
    if not values or not all(
        code or (isinstance(entry, str) and entry.strip())
        for entry, code in zip(values, is_code, strict=True)
    ):
        raise _wrong(path, f"{name!r} is made of {value!r}; give a class, or a list of some")
    return tuple(str(entry).strip() for entry in values)


def _color(path: Path, name: str, value: Any) -> Color:
    if isinstance(value, str) and re.fullmatch("#[0-9A-Fa-f]{6}", value.strip()):
        red, green, blue = bytes.fromhex(value.strip()[1:])
        return red, green, blue
    is_triple = isinstance(value, list) and len(value) == 3
    if is_triple and all(type(part) is int and 0 <= part <= 255 for part in value):
        return value[0], value[1], value[2]
    raise _wrong(
        path, f'the color of {name!r} is {value!r}; give "#rrggbb" in quotes, or [red, green, blue] to 255'
    )


def _code(path: Path, name: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise _wrong(path, f"the code of {name!r} is {value!r}; give a whole number from 0")
    return value


def _targets_of_rows(path: Path, text: str) -> tuple[Target, ...]:
    """Return the classes of a CSV file: a row for each class as it is."""
    try:
        reader = csv.DictReader(text.splitlines(), strict=True, skipinitialspace=True)
        rows = list(reader)
    except csv.Error as error:
        raise _wrong(path, f"is not CSV: {one_line(error)}") from error
    columns = [str(column).strip() for column in reader.fieldnames or ()]
    if not {"from", "to"} <= set(columns) <= set(COLUMNS) or len(set(columns)) < len(columns):
        raise _wrong(
            path, f"has the columns {', '.join(columns) or 'none'}; give from, to, and if wanted color, code"
        )
    if not rows:
        raise _wrong(path, "names no class; give rows such as tree,canopy")
    by_name: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if None in row or None in row.values():
            raise _wrong(path, f"has a row with other columns than the first: {list(row.values())!r}")
        cells = {str(key).strip(): str(value).strip() for key, value in row.items()}
        if not cells["to"] or not cells["from"]:
            raise _wrong(path, f"has a row without a class in from or to: {','.join(cells.values())}")
        by_name.setdefault(cells["to"], []).append(cells)
    return tuple(_target_of_rows(path, name, rows_of) for name, rows_of in by_name.items())


def _target_of_rows(path: Path, name: str, rows: Sequence[Mapping[str, str]]) -> Target:
    said: dict[str, Any] = {"from": [row["from"] for row in rows]}
    for key in ("color", "code"):
        values = {row[key] for row in rows if row.get(key)}
        if len(values) > 1:
            raise _wrong(path, f"{name!r} has the {key} {' and '.join(sorted(values))}; give it one")
        for value in values:
            said[key] = int(value) if key == "code" and value.isdecimal() else value
    return _target(path, name, said)
