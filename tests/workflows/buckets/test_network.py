"""A network that is away in the middle of a run: for two minutes, and it goes on; for ever, and it can be taken up."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.between import Cable, Way

from segment_tiles.pipeline.places.protocol import RESULT_SECONDS

AWAY = 120.0
"""Seconds."""
WAYS: tuple[Way, ...] = ("refused", "silent")


@pytest.fixture
def cable(s3: str) -> Iterator[Cable]:
    """What the command has to the bucket; the test itself asks the bucket directly."""
    between = Cable(s3)
    yield between
    between.close()


@pytest.fixture
def begun(
    start: Callable[..., subprocess.Popen[str]],
    wait_for_rows: Callable[..., None],
    s3: str,
    cable: Cable,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., subprocess.Popen[str]]:
    """Starts the run through the cable; waits for some rows."""

    def begin(address: str, rows: int = 0, pause: float = 0.0) -> subprocess.Popen[str]:
        monkeypatch.setenv("AWS_ENDPOINT_URL", cable.url)
        process = start(address, pause)
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
        wait_for_rows(address, rows, process)
        return process

    return begin


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("way", WAYS)
def test_one_that_is_away_for_two_minutes_is_waited_for(
    way: Way,
    begun: Callable[..., subprocess.Popen[str]],
    cable: Cable,
    bucket: Callable[[], str],
    same_as_in_folder: Callable[[str], None],
) -> None:
    address = f"{bucket()}/maps"
    process = begun(address, rows=1, pause=2.0)
    cable.pull(way)
    time.sleep(AWAY)
    assert process.poll() is None, process.communicate()
    cable.put_back()
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    same_as_in_folder(address)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", WAYS)
def test_one_that_stays_away_ends_the_command_which_can_be_taken_up(
    way: Way,
    begun: Callable[..., subprocess.Popen[str]],
    cable: Cable,
    bucket: Callable[[], str],
    run_into: Callable[..., Any],
    same_as_in_folder: Callable[[str], None],
    record_property: Callable[[str, object], None],
) -> None:
    address = f"{bucket()}/maps"
    process = begun(address, rows=1, pause=2.0)
    cable.pull(way)
    since = time.monotonic()
    _, said = process.communicate(timeout=900)
    took = time.monotonic() - since
    record_property("seconds until it ended", round(took))
    assert process.returncode == 1, said
    errors = [line for line in said.splitlines() if "segment-tiles: error:" in line]
    assert len(errors) == 1, said
    assert said.splitlines()[-1] == errors[0]
    assert "finished rows are kept: start the same command again" in errors[0]
    assert "Traceback" not in said
    assert "Debug source" not in said
    # heartbeat, giving back the lease and looking for what is left are tried once more: a minute each without an answer
    assert RESULT_SECONDS - 20 < took < RESULT_SECONDS + 400
    cable.put_back()
    result = run_into(address)
    assert 0 < result.report["tiles"]["computed"] < result.report["tiles"]["planned"]
    same_as_in_folder(address)
