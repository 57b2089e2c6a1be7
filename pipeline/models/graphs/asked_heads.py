"""Outputs of a graph that are to be class maps of their own, as a user names them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import split_names
from segment_tiles.pipeline.models.packages.manifest import ALL_HEADS

_NAME: Final = re.compile(r"[A-Za-z0-9][\w-]*")


@dataclass(frozen=True, slots=True)
class AskedHead:
    """An output that is to be a class map."""

    name: str
    """What it will be called."""
    output: str
    """Name in the graph, or number from 0."""
    classes: tuple[str, ...]
    """In the order of its channels."""


def asked_heads(texts: Iterable[str]) -> tuple[AskedHead, ...]:
    """Return name, output and classes of heads.

    >>> asked_heads(["crop=logits_b:wheat,maize"])
    (AskedHead(name='crop', output='logits_b', classes=('wheat', 'maize')),)

    Raises
    ------
    UsageError
        One is no NAME=OUTPUT:A,B,.. or two have one name, or one is called all.
    """
    found = tuple(map(_asked_head, texts))
    names = [head.name for head in found]
    if ALL_HEADS in names:
        msg = f"--head names a head {ALL_HEADS!r}, which is what a run spells for every head; give it another name"
        raise UsageError(msg)
    if len(set(names)) < len(names):
        msg = f"--head names {', '.join(names)}; give each head another name"
        raise UsageError(msg)
    return found


def _asked_head(text: str) -> AskedHead:
    name, _, rest = (part.strip() for part in text.partition("="))
    output, _, names = (part.strip() for part in rest.partition(":"))
    classes = split_names(names)
    if not (_NAME.fullmatch(name) and output and all(classes)):
        msg = (
            f"--head is {text!r}; give NAME=OUTPUT:A,B,.. such as crop=logits_b:wheat,maize; the name of a head has "
            "letters, digits, - and _"
        )
        raise UsageError(msg)
    return AskedHead(name, output, classes)
