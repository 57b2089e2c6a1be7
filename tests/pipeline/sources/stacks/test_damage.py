"""Items and stack files of which a part is not what it should be: one line, whatever stands there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from segment_tiles.pipeline.errors import SegmentTilesError, SourceError
from segment_tiles.pipeline.sources.stacks.description import stack_named
from segment_tiles.pipeline.sources.stacks.elements import name_of_elements
from segment_tiles.pipeline.sources.stacks.resolve import OF_NO_STACK, StackOptions, resolved

ITEM: dict[str, Any] = {
    "type": "Feature", "stac_version": "1.0.0", "id": "x", "links": [{"rel": "self", "href": "/data/i.json"}],
    "properties": {"datetime": "2026-05-01T10:00:00Z"},
    "assets": {
        "red": {
            "href": "./red.tif", "type": "image/tiff", "roles": ["data"],
            "eo:bands": [{"name": "B04", "common_name": "red"}], "raster:bands": [{"nodata": 0, "scale": 1.0}],
        },
        "visual": {"href": "./v.tif", "bands": [{"name": "a", "eo:common_name": "blue"}, {"name": "b"}]},
    },
}  # fmt: skip
STACK: dict[str, Any] = {
    "grid_of": "red",
    "members": [
        {"file": "red.tif", "name": "red", "resampling": "nearest", "nodata": 0, "band": 1},
        "blue.tif",
    ],
}
OTHERS: list[Any] = [None, True, -1, 1.5, "", "x", [], {}, [1], {"a": 1}, [[]], [None], 10**30]


def parts(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield (*before, key)
        yield from parts(entry, (*before, key))


def damaged(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The document with another value in every part, and without each part."""
    for *before, key in parts(document):
        for other in [*OTHERS, parts]:
            copy = deepcopy(document)
            inside: Any = copy
            for step in before:
                inside = inside[step]
            if other is parts:
                del inside[key]
            else:
                inside[key] = other
            yield copy


def test_items_are_understood_or_refused() -> None:
    for document in damaged(ITEM):
        for assets in ((), ("red", "blue")):
            with suppress(SegmentTilesError):
                stack_named(resolved(name_of_elements([json.dumps(document)]), StackOptions(assets)))


def test_stack_files_are_understood_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "scene.yaml"
    for document in damaged(STACK):
        path.write_text(yaml.safe_dump(document))
        with suppress(SegmentTilesError):
            stack_named(resolved(str(path), OF_NO_STACK))


@pytest.mark.parametrize(
    "name",
    [
        "stack:", "stack:{}", "stack:[]", 'stack:{"members":[]}', 'stack:{"members":[{"files":[]}]}', 'stack:{"of":3}',
        'stack:{"members":[{"files":["a.tif"],"resampling":"cubic"}]}', 'stack:{"members":[{"file":"a.tif"}]}',
    ],
)  # fmt: skip
def test_names_that_say_no_stack_are_refused(name: str) -> None:
    with pytest.raises(SourceError, match="is not the name of a stack"):
        stack_named(resolved(name, OF_NO_STACK))
