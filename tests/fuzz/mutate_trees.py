"""Wrong values in documents of mappings and lists: JSON, YAML, and options."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from random import Random
from typing import Any

import yaml

from fuzz.mutate_bytes import mutate_file

WRONG: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 1e308, 1e-320, float("inf"), float("nan"), "", " ", "a",
    "3.5", "-1", "many", "[red]", "\u0000", "ä" * 300, "../../etc/passwd", "/", [], [[]], {}, [None], [1, "a"],
    {"a": None}, [0] * 5, "x" * 100_000,
)  # fmt: skip
"""Values that no key of ours takes everywhere: other types, edges, empty, huge, odd text."""


def mutate_tree(tree: Any, rng: Random) -> tuple[Any, str]:
    """Return a copy of a document with one wrong value, a key left out, renamed or doubled."""
    tree = copy.deepcopy(tree)
    nodes = list(_nodes(tree, ()))
    parent, key, path = rng.choice(nodes)
    action = rng.choice(("replace", "replace", "replace", "delete", "rename", "double"))
    if action == "delete":
        del parent[key]
    elif action == "rename" and isinstance(parent, dict):
        parent[rng.choice((f"{key}x", "", 1))] = parent.pop(key)
    elif action == "double" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    else:
        action = "replace"
        parent[key] = rng.choice(WRONG)
    return tree, f"{action} {'.'.join(map(str, path))} -> {str(_value(parent, key))[:40]!r}"


def mutate_json(path: Path, rng: Random) -> str:
    """Put one wrong value into a JSON file."""
    try:
        tree, done = mutate_tree(json.loads(path.read_text()), rng)
    except (ValueError, IndexError):  # damaged before
        return mutate_file(path, rng)
    path.write_text(json.dumps(tree, default=str))
    return f"{path.name}: {done}"


def mutate_yaml(path: Path, rng: Random) -> str:
    """Put one wrong value into a YAML file."""
    try:
        tree, done = mutate_tree(yaml.safe_load(path.read_text()), rng)
    except (ValueError, IndexError, yaml.YAMLError):  # damaged before
        return mutate_file(path, rng)
    path.write_text(yaml.safe_dump(tree, allow_unicode=True))
    return f"{path.name}: {done}"


def _nodes(tree: Any, path: tuple[Any, ...]) -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key, (*path, key)
        yield from _nodes(value, (*path, key))


def _value(parent: Any, key: Any) -> Any:
    try:
        return parent[key]
    except (KeyError, IndexError):
        return None
