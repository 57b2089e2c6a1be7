"""One tile, two tiles: no message counts one of a plural."""

from __future__ import annotations

import re
from pathlib import Path

import segment_tiles.cli
import segment_tiles.pipeline
import segment_tiles.workflows
from segment_tiles.pipeline.wording import counted, readable_bytes

NOUNS = (
    "band|class|entry|file|format|frame|job|label|line|part|row|slice|step|tensor|thread|tile|value|worker"
)
COUNTED = re.compile(rf"\{{(?:len|int|sum)\([^{{}}]*\}} (?:[a-z-]+ )?(?:{NOUNS})(?:e?s|ies)\b")
"""A count in a text that is followed by a plural, whatever the count is."""
MORE_THAN_ONE = {"class_band.py", "evaluation.py", "networks.py", "dicom_series.py"}
"""Messages that are given only for two or more."""


def test_counts() -> None:
    assert [counted(n, "tile") for n in (0, 1, 2, 1200)] == ["0 tiles", "1 tile", "2 tiles", "1,200 tiles"]
    assert [counted(n, "band is", "bands are") for n in (1, 2)] == ["1 band is", "2 bands are"]
    assert readable_bytes(999) == "999 bytes"


def test_messages_count_with_it() -> None:
    found = []
    for package in (segment_tiles.pipeline, segment_tiles.workflows, segment_tiles.cli):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            if path.name not in MORE_THAN_ONE:
                found += [f"{path.name}: {m[0]}" for m in COUNTED.finditer(path.read_text(encoding="utf-8"))]
    assert not found
