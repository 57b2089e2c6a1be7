"""Two runs on one output directory: the second says who holds it, also from another machine."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from segment_tiles.pipeline.errors import OutputError, WriteFailedError
from segment_tiles.pipeline.vectors.tile_ledger import TileLedger
from segment_tiles.workflows.output_folder import lock as output_lock
from segment_tiles.workflows.output_folder.directory import OutputDirectory

HOLD = (
    "import sys, time; from pathlib import Path;"
    "from segment_tiles.workflows.output_folder.directory import OutputDirectory;"
    "lock = OutputDirectory(Path(sys.argv[1])).locked_for(); lock.__enter__(); print('held', flush=True);"
    "time.sleep(60)"
)


def holder_of(out: Path) -> Path:
    return out / ".segment-tiles" / "holder.json"


def leave_holder(out: Path, machine: str, age: float) -> None:
    """What a process on another machine leaves in a folder whose locks do not reach this one."""
    path = holder_of(out)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"process": 77, "machine": machine, "since": "2026-01-01T00:00:00+00:00"}))
    then = time.time() - age
    os.utime(path, (then, then))


def test_a_second_process_is_told_who_holds_it_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    who = f"process {process.pid} on {platform.node()}, since 20"
    with pytest.raises(OutputError, match=who), OutputDirectory(tmp_path).locked_for():
        pass
    assert json.loads(holder_of(tmp_path).read_text())["process"] == process.pid, "the holder stays named"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with OutputDirectory(tmp_path).locked_for():
        assert json.loads(holder_of(tmp_path).read_text())["process"] == os.getpid()
    assert not holder_of(tmp_path).exists()


def test_a_holder_on_another_machine_is_believed_while_it_is_fresh(tmp_path: Path) -> None:
    leave_holder(tmp_path, "node-7", age=output_lock.GONE_SECONDS - 10)
    with (
        pytest.raises(OutputError, match=r"process 77 on node-7, since 2026.* free 45 s later"),
        OutputDirectory(tmp_path).locked_for(),
    ):
        pass
    assert holder_of(tmp_path).exists(), "it is not ours to remove"
    assert sorted(path.name for path in holder_of(tmp_path).parent.iterdir()) == ["holder.json", "lock"]


def test_a_holder_on_another_machine_that_fell_silent_is_dead(tmp_path: Path) -> None:
    leave_holder(tmp_path, "node-7", age=output_lock.GONE_SECONDS + 10)
    with OutputDirectory(tmp_path).locked_for():
        pass


def test_a_folder_that_nothing_was_written_into_is_removed_while_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever took the lock between its release and its removal would hold a lock that nobody else sees."""
    there: list[bool] = []

    class Watched(output_lock.FileLock):  # type: ignore[misc, valid-type]
        def release(self, force: bool = False) -> None:
            there.append(Path(self.lock_file).exists())
            super().release(force)

    monkeypatch.setattr(output_lock, "FileLock", Watched)
    with OutputDirectory(tmp_path / "new" / "out").locked_for():
        pass
    assert there[0] is False
    assert not any(tmp_path.iterdir())


def test_a_holder_stays_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_lock, "REFRESH_SECONDS", 0.05)
    with OutputDirectory(tmp_path).locked_for():
        os.utime(holder_of(tmp_path), (0, 0))
        deadline = time.monotonic() + 20
        while holder_of(tmp_path).stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert "lock" not in [thread.name for thread in threading.enumerate()]


def test_what_went_wrong_is_not_hidden_by_a_lock_that_cannot_be_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where rights were taken away in the middle of a run: nothing there can be removed any more."""

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    def fail() -> None:
        monkeypatch.setattr(Path, "unlink", refuse)
        raise WriteFailedError("the disk is full")

    with pytest.raises(WriteFailedError, match="the disk is full"), OutputDirectory(tmp_path).locked_for():
        fail()


def test_a_directory_that_is_removed_in_the_middle_hides_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def fail() -> None:
        shutil.rmtree(out)
        raise WriteFailedError("it has gone")

    with pytest.raises(WriteFailedError, match="it has gone"), OutputDirectory(out).locked_for():
        fail()


def test_a_folder_in_which_no_holder_can_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(output_lock, "write_whole", refuse)
    with pytest.raises(OutputError, match=r"cannot be locked \(.*Permission denied"):
        OutputDirectory(tmp_path).locked_for().__enter__()


def test_a_second_polygonize_says_who_writes_the_file(tmp_path: Path) -> None:
    tiles, out = tmp_path / ".p.parquet.tiles", tmp_path / "p.parquet"
    with output_lock.held_folder(tiles, out, "file"):
        (tiles / "settings.json").write_text("{}")
        with (
            pytest.raises(OutputError, match=rf"process {os.getpid()} on .* at work here; .* another file"),
            output_lock.held_folder(tiles, out, "file"),
        ):
            pass
        TileLedger(tiles).remove()
        assert (tiles / "lock").exists(), "the tiles are forgotten, the lock is still held"
    assert not tiles.exists()


@pytest.mark.parametrize("what", ["run", "polygonize"])
def test_a_folder_that_is_removed_in_the_middle_is_named(tmp_path: Path, what: str) -> None:
    own = tmp_path / (".segment-tiles" if what == "run" else ".p.parquet.tiles")
    out = tmp_path if what == "run" else tmp_path / "p.parquet"

    def fail() -> None:
        shutil.rmtree(own)
        (own / "seams-0_0.npz").read_bytes()

    with (
        pytest.raises(
            WriteFailedError, match=f"{re.escape(str(own))} was removed or moved while this command"
        ),
        OutputDirectory(out).locked_for() if what == "run" else output_lock.held_folder(own, out, "file"),
    ):
        fail()


def test_what_is_not_of_a_removal_stays_what_it_is(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        output_lock.held_folder(tmp_path / ".p.parquet.tiles", tmp_path / "p.parquet", "file"),
    ):
        assert 1 / 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "is_ours"), [(".out.tiles/row", True), ("out/classes.tif", True), ("scene.tif", False)]
)
def test_a_disk_that_fails_under_a_step_is_told_as_such(tmp_path: Path, name: str, is_ours: bool) -> None:
    broken = OSError(errno.EIO, "Input/output error", str(tmp_path / name))
    expected, said = (WriteFailedError, "check the disk") if is_ours else (OSError, "Errno 5")
    with (
        pytest.raises(expected, match=said),
        output_lock.held_folder(tmp_path / ".out.tiles", tmp_path / "out"),
    ):
        raise broken
