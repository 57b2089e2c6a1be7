"""Ceph's radosgw: S3 as thousands of sites serve it, by a cluster of one monitor and one store in memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from servers.local import SECONDS, Server, free_port, process, s3_settings, wait_for

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
NEEDS = "Ceph's radosgw is not installed; on Debian and Ubuntu: apt-get install radosgw ceph-mon ceph-osd"
TIMES = 8
KEY, SECRET = "key", "known to nobody"
SETTINGS = """\
[global]
fsid = {cluster}
mon host = [v1:127.0.0.1:{monitor}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 1
paxos propose interval = 0.05
paxos min wait = 0.01
osd objectstore = memstore
mon data = {folder}/monitor
osd data = {folder}/store
rgw data = {folder}/gateway
run dir = {folder}
crash dir = {folder}
admin socket =
pid file =
log file = {folder}/$name.log
mon cluster log file = {folder}/cluster.log
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{gateway} tcp_nodelay=1
rgw dynamic resharding = false
"""


def program() -> str | None:
    """Return the path of the program, if all that it needs is installed."""
    return shutil.which("radosgw") if all(map(shutil.which, PROGRAMS)) else None


@contextmanager
def radosgw(folder: Path) -> Iterator[Server]:
    """Serve buckets; signatures are checked."""
    assert program() is not None, NEEDS
    monitor, gateway = free_port(), free_port()
    for name in ("monitor", "store", "gateway"):
        (folder / name).mkdir()
    settings = {"CEPH_CONF": str(folder / "ceph.conf")}
    cluster = str(uuid4())
    (folder / "ceph.conf").write_text(
        SETTINGS.format(folder=folder, cluster=cluster, monitor=monitor, gateway=gateway)
    )
    with ExitStack() as running:
        first = str(folder / "map")
        at = f"[v1:127.0.0.1:{monitor}]"
        _ask(settings, "monmaptool", "--create", "--addv", "a", at, "--fsid", cluster, first)
        _ask(settings, "ceph-mon", "--mkfs", "-i", "a", "--monmap", first)
        running.enter_context(process(["ceph-mon", "-f", "-i", "a"], folder / "monitor.log", **settings))
        store = str(uuid4())
        number = _tell(settings, "ceph", "osd", "new", store).strip()
        _ask(settings, "ceph-osd", "-i", number, "--mkfs", "--osd-uuid", store)
        _start_store(running, settings, number, folder)
        log = folder / "gateway.log"
        started = running.enter_context(process(["radosgw", "-f", "-n", "client.rgw"], log, **settings))
        wait_for(gateway, started, log)
        user = ("--uid", "tests", "--display-name", "tests", "--access-key", KEY, "--secret-key", SECRET)
        _tell(settings, "radosgw-admin", "-n", "client.rgw", "user", "create", *user)
        url = f"http://127.0.0.1:{gateway}"
        yield Server("s3", url, s3_settings(url, KEY, SECRET), lambda name: _make(url, name), started.pid)


def _make(url: str, name: str) -> None:
    from botocore.session import Session  # noqa: PLC0415 - of an extra

    client = Session().create_client(
        "s3", "us-east-1", endpoint_url=url, aws_access_key_id=KEY, aws_secret_access_key=SECRET
    )
    client.create_bucket(Bucket=name)
    client.close()


def _start_store(running: ExitStack, settings: Mapping[str, str], number: str, folder: Path) -> None:
    """Start the store and wait for it; while the monitor is busy with its own start, it may refuse it, and it ends."""
    for attempt in range(TIMES):
        log = folder / f"store-{attempt}.log"
        started = running.enter_context(process(["ceph-osd", "-f", "-i", number], log, **settings))
        until = time.monotonic() + SECONDS
        while started.poll() is None and time.monotonic() < until:
            if "1 up" in _tell(settings, "ceph", "osd", "stat"):
                return
            time.sleep(0.2)
    msg = f"the store did not start; it said: {log.read_text(errors='replace')[-2000:]}"
    raise RuntimeError(msg)


def _tell(settings: Mapping[str, str], *command: str) -> str:
    """Ask a program that asks the monitor, again while that refuses what it does later."""
    for _ in range(TIMES):
        try:
            return _ask(settings, *command)
        except AssertionError:
            time.sleep(0.5)
    return _ask(settings, *command)


def _ask(settings: Mapping[str, str], *command: str) -> str:
    done = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"
    return done.stdout
