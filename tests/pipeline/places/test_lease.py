"""A lease: one holder at a time, taken over only from one that is gone, and lost by one that stood still."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from servers.s3_server import on_every_server

from segment_tiles.pipeline.errors import OutputError, PlaceError, WriteFailedError
from segment_tiles.pipeline.places import lease as leases
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.places.lease import Lease, acquire
from segment_tiles.pipeline.places.protocol import Found, Place

KEY = "own/lease.json"


@pytest.fixture
def place(bucket: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(leases, "TERM_SECONDS", 1.5)
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.1)
    return place_at(bucket())


def on_another_machine(place: Place) -> None:
    """Let the holder be of a machine of which nobody here can tell whether its process is there."""
    found = place.read(KEY)
    assert found is not None
    fields = json.loads(found.data)
    fields["holder"]["machine"] = "elsewhere"
    assert place.replace(KEY, json.dumps(fields).encode(), found.version)


@on_every_server
def test_numbers_rise_and_one_that_is_given_back_is_free_at_once(place: Place) -> None:
    told: list[str] = []
    numbers = []
    for _ in range(3):
        with acquire(place, KEY, told.append) as lease:
            numbers.append(lease.number)
            lease.require()
    assert numbers == [1, 2, 3]
    assert told == []


@on_every_server
def test_a_holder_at_work_is_named(place: Place) -> None:
    with (
        acquire(place, KEY, print),
        pytest.raises(OutputError, match=r"process .* is at work here; wait for it"),
    ):
        acquire(place, KEY, lambda _text: None)


@on_every_server
def test_of_many_at_once_one_has_it(place: Place) -> None:
    def take(_number: int) -> Lease | None:
        try:
            lease = acquire(place, KEY, lambda _text: None)
        except OutputError:
            return None
        return lease.__enter__()

    with ThreadPoolExecutor(6) as pool:
        held = [lease for lease in pool.map(take, range(6)) if lease is not None]
    assert len(held) == 1
    held[0].__exit__(None, None, None)


@on_every_server
def test_one_of_a_process_of_this_machine_that_has_ended_is_free_at_once(place: Place) -> None:
    code = (
        "import sys; from segment_tiles.pipeline.places import address, lease\n"
        "held = lease.acquire(address.place_at(sys.argv[1]), sys.argv[2], print).__enter__()\n"
        "import os; os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, place.name, KEY], check=False)
    told: list[str] = []
    with acquire(place, KEY, told.append) as lease:
        assert lease.number == 2
    assert told == []


@on_every_server
def test_one_that_stood_still_is_taken_over_and_its_holder_writes_no_more(place: Place) -> None:
    first = acquire(place, KEY, print)  # its heart does not beat
    on_another_machine(place)
    told: list[str] = []
    with acquire(place, KEY, told.append) as second:
        assert second.number == 2
        assert "looking whether that process is still there" in told[0]
        with pytest.raises(WriteFailedError, match="took over meanwhile; nothing more is written"):
            first.require()
        assert first.is_lost
        second.require()


@on_every_server
def test_a_lease_that_was_removed_is_lost(place: Place) -> None:
    with acquire(place, KEY, print) as lease:
        place.delete(KEY)
        with pytest.raises(WriteFailedError, match="its lease was removed"):
            lease.require()


class LosesAnswers:
    """A place that writes and then says that it has not, as after an answer that was lost and asked for again."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self._place.put_if_absent(key, data)
        return False

    def replace(self, key: str, data: bytes, version: str) -> bool:
        self._place.replace(key, data, version)
        return False


@on_every_server
def test_an_answer_that_was_lost_loses_no_lease(place: Place) -> None:
    deaf: Any = LosesAnswers(place)
    for number in (1, 2):
        with acquire(deaf, KEY, print) as lease:
            lease.require()
            lease.require()
            assert lease.number == number


class GoneForAWhile(LosesAnswers):
    """A place that does not answer when it is told so."""

    is_gone = False

    def read(self, key: str) -> Found | None:
        if self.is_gone:
            msg = "away"
            raise PlaceError(msg)
        return self._place.read(key)


@on_every_server
def test_a_network_that_is_away_loses_no_lease(place: Place) -> None:
    gone: Any = GoneForAWhile(place)
    with acquire(gone, KEY, print) as lease:
        lease.require()
        gone.is_gone = True
        with pytest.raises(PlaceError):
            lease.require()
        gone.is_gone = False
        lease.require()
        assert not lease.is_lost


@on_every_server
def test_an_object_of_others_is_refused(place: Place) -> None:
    place.put(KEY, b"a letter")
    with pytest.raises(PlaceError, match="its lease is not one of this program"):
        acquire(place, KEY, print)


def test_a_process_that_is_there_is_not_free() -> None:
    record = leases.LeaseRecord(1, leases._this_process(), 0, "")
    assert not record.is_free
    assert replace(record, holder=None).is_free
    assert replace(record, holder={**(record.holder or {}), "started": 1.0}).is_free
    assert not replace(
        record, holder={**(record.holder or {}), "started": 1.0, "machine": "elsewhere"}
    ).is_free


class HeedsNothing(LosesAnswers):
    """A store that writes whatever the conditions say, as older ones do."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self._place.put(key, data)
        return True

    def replace(self, key: str, data: bytes, version: str) -> bool:
        self._place.put(key, data)
        return True


@on_every_server
def test_a_store_that_heeds_no_conditions_is_refused(place: Place) -> None:
    leases.require_conditions(place, "own/tried")
    careless: Any = HeedsNothing(place)
    with pytest.raises(PlaceError, match="does not heed conditional puts"):
        leases.require_conditions(careless, "own/tried")
    assert place.list() == []
