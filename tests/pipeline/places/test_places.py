from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers.local import Server
from servers.s3_server import SERVERS, on_every_server

from segment_tiles.pipeline.errors import PlaceError
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.places.protocol import Place

PLACES = ("disk", "file", "memory", *SERVERS)
NUMBERS = count()
KEYS = st.sampled_from(["a", ".own/rows", "rows/1", "rows/2", "rows/deep/ä b%20+", "rows-2/1"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["put", "put file", "absent", "replace", "replace old", "range", "delete", "delete all"]
        ),
        KEYS,
        st.binary(max_size=40),
    ),
    max_size=12,
)


@pytest.fixture(params=PLACES)
def new_place(
    request: pytest.FixtureRequest, tmp_path: Path, settle: Callable[[str], Server]
) -> Callable[[], Place]:
    addresses: dict[str, Callable[[], str]] = {
        "disk": lambda: str(tmp_path / f"{next(NUMBERS)}"),
        "file": lambda: f"file://{tmp_path}/of%20url-{next(NUMBERS)}",
        "memory": lambda: f"memory://store-{next(NUMBERS)}",
    }
    if request.param in addresses:
        return lambda: place_at(addresses[request.param]())
    of_all = settle(request.param).bucket(f"places-{next(NUMBERS)}")
    return lambda: place_at(f"{of_all}/under-{next(NUMBERS)}/a b")


@given(steps=STEPS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_place_does_what_a_dictionary_does(
    new_place: Callable[[], Place], tmp_path: Path, steps: list[tuple[str, str, bytes]]
) -> None:
    place, model, file = new_place(), dict[str, bytes](), tmp_path / "content"
    old: dict[str, tuple[str, bytes]] = {}
    for step, key, data in steps:
        found = place.read(key)
        assert (None if found is None else found.data) == model.get(key)
        if step == "put":
            place.put(key, data)
            model[key] = data
        elif step == "absent":
            assert place.put_if_absent(key, data) == (key not in model)
            model.setdefault(key, data)
        elif step == "replace" and found is not None:
            assert place.replace(key, data, found.version)
            model[key] = data
        elif step == "replace old" and key in old and old[key][1] != model.get(key):
            assert not place.replace(key, data, old[key][0])
        elif step == "range" and found is not None and found.data:
            assert place.read_range(key, len(found.data) - 1, 1) == found.data[-1:]
            with pytest.raises(PlaceError):
                place.read_range(key, len(found.data) - 1, 2)
        elif step == "put file":
            file.write_bytes(data)
            place.put_file(key, file)
            model[key] = data
        elif step == "delete":
            place.delete(key)
            model.pop(key, None)
        elif step == "delete all":
            place.delete_all([name for name in model if name.startswith(key)])
            model = {name: content for name, content in model.items() if not name.startswith(key)}
        if found is not None:
            old[key] = found.version, found.data
        if key in model:
            place.read_file(key, file)
            assert file.read_bytes() == model[key]
        assert place.list() == sorted(model)
        assert place.sizes() == {name: len(content) for name, content in model.items()}
        assert place.list("rows") == sorted(name for name in model if name.startswith("rows/"))


def test_of_many_at_a_time_one_puts_if_absent_and_one_replaces(new_place: Callable[[], Place]) -> None:
    place = new_place()
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda n: place.put_if_absent("lease", b"%d" % n), range(16))) == 1
        found = place.read("lease")
        assert found is not None
        assert sum(pool.map(lambda n: place.replace("lease", b"new %d" % n, found.version), range(16))) == 1


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/./b", ".segment-tiles.lock", "a/.b.partial"]
)
def test_keys_that_are_not_the_same_everywhere_are_refused(key: str, new_place: Callable[[], Place]) -> None:
    with pytest.raises(PlaceError, match="names by '/' are needed"):
        new_place().put(key, b"")


def test_a_put_that_is_killed_leaves_nothing_partial_under_its_name(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from segment_tiles.pipeline.places.address import place_at\n"
        "place = place_at(sys.argv[1])\n"
        "print('begun', flush=True)\n"
        "for number in range(10**6):\n"
        "    place.put('whole', b'%d' % (number % 10) * 300_000)\n"
        "    place.put_if_absent(f'new/{number}', b'%d' % (number % 10) * 300_000)\n"
    )
    for waits in (0.03, 0.08):
        process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(waits)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
        place = place_at(str(tmp_path))
        for key in place.list():
            found = place.read(key)
            assert found is not None
            assert len(found.data) == 300_000
            assert len(set(found.data)) == 1
        place.put("whole", b"2" * 300_000)  # the lock is free again


BAD = {
    "ftp://host/a": r"ftp:// is not known; give a folder, or one of file://, s3://, gs://, az://, memory://",
    "s3://key:hidden@bucket/a": r"s3://bucket/a: has a user, a password or a query",
    "s3://bucket/a?X-Amz-Signature=hidden": r"s3://bucket/a.*: has a user, a password or a query",
    "s3:///a": r"names no bucket; give s3://BUCKET/PATH",
    "file://elsewhere/a": r"names no folder of this machine; give file:///PATH",
}


@pytest.mark.parametrize("address", BAD)
def test_addresses_are_refused_in_a_line(address: str) -> None:
    with pytest.raises(PlaceError, match=BAD[address]) as refused:
        place_at(address)
    assert "\n" not in str(refused.value)
    assert "hidden" not in str(refused.value)


@on_every_server
def test_a_bucket_that_is_not_there_is_said(bucket: Callable[[], str]) -> None:
    address = f"{bucket().partition('//')[0]}//nowhere/a"
    place = place_at(address)
    asked: list[Callable[[], object]] = [
        lambda: place.read("k"),
        lambda: place.put("k", b""),
        lambda: place.put_if_absent("k", b""),
        place.list,
    ]
    for ask in asked:
        with pytest.raises(PlaceError, match=rf"{address}: there is no such bucket; make it") as refused:
            ask()
        assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("s3")
def test_no_credentials_are_said_before_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(PlaceError, match=r"s3://bucket/a: no credentials; set AWS_PROFILE"):
        place_at("s3://bucket/a")
    monkeypatch.setenv("AWS_PROFILE", "of-nobody")
    with pytest.raises(PlaceError, match=r"s3://bucket/a: .*of-nobody.*AWS_PROFILE"):
        place_at("s3://bucket/a")
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    assert place_at("s3://bucket/a").name == "s3://bucket/a"


class _Refuses(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_error(403, "AccessDenied")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.usefixtures("s3")
def test_no_right_to_write_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(
            PlaceError, match=r"s3://bucket/a: no right to k; check the credentials"
        ) as refused:
            place_at("s3://bucket/a").put("k", b"")
        server.shutdown()
    assert "\n" not in str(refused.value)
    assert "known to nobody" not in str(refused.value)


@pytest.mark.usefixtures("s3")
def test_a_network_that_is_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(PlaceError, match=r"s3://bucket/a: the store does not answer .*after retries") as gone:
        place_at("s3://bucket/a", 0.1).read("k")
    assert "\n" not in str(gone.value)
