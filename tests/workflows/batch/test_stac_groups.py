"""Items of one scene are in the order of their times, whatever offset from UTC these are written with."""

from __future__ import annotations

import json
from datetime import date, datetime

import pystac

from segment_tiles.pipeline.sources.stacks.elements import elements_of
from segment_tiles.workflows.batch.sources.stac_groups import grouped


def item(name: str, moment: str) -> pystac.Item:
    return pystac.Item(name, None, None, datetime.fromisoformat(moment), {})


def ids(source: str) -> list[list[str]]:
    return [[json.loads(text)["id"] for text in group] for group in elements_of(source) or ()]


def test_times_are_compared_and_dated_in_utc() -> None:
    items = [
        item("third", "2026-05-01T00:30:00-09:00"),  # 9:30
        item("second", "2026-05-01T09:00:00"),
        item("first", "2026-05-01T10:00:00+02:00"),  # 8:00
        item("the day after", "2026-05-01T23:30:00-02:00"),
    ]
    found = grouped(items, ["date"], [], "job")
    assert [(fields["date"], ids(source)) for source, fields in found] == [
        ("2026-05-01", [["first", "second", "third"]]),
        ("2026-05-02", [["the day after"]]),
    ]
    ((source, _),) = grouped(items, [], [date(2026, 5, 2), date(2026, 5, 1)], "job")
    assert ids(source) == [["the day after"], ["first", "second", "third"]]
