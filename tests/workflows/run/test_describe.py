"""What `doctor` tells of a machine."""

from __future__ import annotations

import tomllib
from pathlib import Path

from segment_tiles.workflows.run.describe import EXTRAS, describe_machine

PROJECT = Path(__file__).parents[3] / "pyproject.toml"
FOR_DEVELOPERS = {"dev", "docs", "benchmarks"}


def test_doctor_names_every_extra_that_a_user_may_install() -> None:
    declared = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(declared) - FOR_DEVELOPERS
    told = describe_machine()["extras"]
    assert told.keys() == EXTRAS.keys()
    for name, state in told.items():
        assert state in {"installed", f"pip install 'segment-tiles[{name}]'"}
    assert told["slides"] == "installed", "the demo's lock has it"
