"""Fixtures of object stores on loopback: each server is started once, when a test first asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="needs the extra object-store")
pytest.importorskip("moto", reason="needs the extra dev")

from servers import azurite, google, radosgw
from servers.local import Server, moto

BUCKETS = count()
STARTS: Mapping[str, Callable[[Path], AbstractContextManager[Server]]] = {
    "moto": moto, "azurite": azurite.azurite, "radosgw": radosgw.radosgw, "google": google.testbench,
}  # fmt: skip
SERVERS = (
    "moto",
    *(
        pytest.param(
            module.__name__.rpartition(".")[2],
            marks=[pytest.mark.slow, pytest.mark.skipif(module.program() is None, reason=module.NEEDS)],
        )
        for module in (azurite, radosgw, google)
    ),
)
"""Names of servers; not every machine has all of them installed."""
on_every_server = pytest.mark.parametrize("bucket", SERVERS, indirect=True)
"""Repeats a test that uses `bucket`, itself or by another fixture."""


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Returns a server by the name of `STARTS`."""
    with ExitStack() as running:
        yield cache(lambda name: running.enter_context(STARTS[name](tmp_path_factory.mktemp(name))))


@pytest.fixture
def settle(servers: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Server]:
    """Puts the settings of a server into the environment, and takes the user's out; returns the server."""

    def done(name: str) -> Server:
        server = servers(name)
        for variable in [variable for variable in os.environ if variable.startswith(server.own)]:
            monkeypatch.delenv(variable)
        for variable, value in server.settings.items():
            monkeypatch.setenv(variable, value)
        return server

    return done


@pytest.fixture
def s3(settle: Callable[[str], Server]) -> str:
    """Settings of moto's server in the environment; returns its URL."""
    return settle("moto").url


@pytest.fixture
def bucket(settle: Callable[[str], Server], request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes a bucket and returns its URL: on moto's server, or where the test is repeated, such as in memory."""
    where = getattr(request, "param", "moto")
    if where == "memory":
        return lambda: f"memory://bucket-{next(BUCKETS)}"
    server = settle(where)
    return lambda: server.bucket(f"bucket-{next(BUCKETS)}")
