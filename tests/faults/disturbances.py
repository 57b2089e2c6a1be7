"""What happens to a command while it works; each says what the outcome may be."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from faults.command import Command, start

Undo = Callable[[], None]
Around = Callable[[Path, Random], AbstractContextManager[Undo]]


@contextmanager
def _plain(_folder: Path, _rng: Random) -> Iterator[Undo]:
    yield lambda: None


@contextmanager
def _small_disk(folder: Path, rng: Random) -> Iterator[Undo]:
    """Make the folder of the results a file system of few bytes; undoing makes it large."""
    disk = folder / "out"
    command = ["mount", "-t", "tmpfs", "-o", f"size={rng.randrange(8, 400) * 1024}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        yield lambda: None  # this machine lets us mount none: the attempt is undisturbed
        return
    larger = ["mount", "-o", "remount,size=1g", str(disk)]
    try:
        yield lambda: subprocess.run(larger, check=True) and None
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One thing that can happen."""

    happen: Callable[[Command, Random], None]
    """Called at a random moment of the command."""
    prepare: Callable[[Random], Callable[[], None]] | None = None
    """Gives what runs in the child before the command: a limit."""
    around: Around = _plain
    """Entered before the first start; gives what ends the disturbance before the last."""
    weight: int = 1
    may_refuse: bool = False
    """Whether the same command may refuse to go on afterwards, if it says so and names --restart."""
    needs_source: bool = False
    """Changes scene.tif, volume.nii or codes.tif."""


def _signal(
    *numbers: signal.Signals, group: bool = False, pause: float = 0.05
) -> Callable[[Command, Random], None]:
    def happen(command: Command, _rng: Random) -> None:
        for number in numbers:
            command.signal(number, group=group)
            time.sleep(pause)

    return happen


def _nothing(_command: Command, _rng: Random) -> None:
    """The limit that was set is what happens."""


def _limit(kind: int, low: int, high: int) -> Callable[[Random], Callable[[], None]]:
    def prepare(rng: Random) -> Callable[[], None]:
        value = rng.randint(low, high)

        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(kind, (value, value))

        return limit

    return prepare


def _three_at_once(command: Command, _rng: Random) -> None:
    command.beside = [start(command.arguments, command.folder, f"other{number}") for number in (1, 2)]
    for other in command.beside:
        other.wait()


def _results_removed(command: Command, _rng: Random) -> None:
    for name in ("out", "maps"):
        shutil.rmtree(command.folder / name, ignore_errors=True)


def _clock_set_back(command: Command, _rng: Random) -> None:
    """What was written so far is from the future, as after a clock that was set back."""
    command.signal(signal.SIGKILL, group=True)
    command.wait()
    future = time.time() + 86_400
    for name in ("out", "maps"):
        for path in (command.folder / name).rglob("*"):
            os.utime(path, (future, future), follow_symlinks=False)


def _be_no_superuser() -> None:
    """Give up what lets root write where nobody may: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER."""
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of linux/capability.h, this process
    data = (ctypes.c_uint32 * 6)()
    library.capget(header, data)
    for index in (0, 1, 2):
        data[index] &= ~0b1110 & 0xFFFFFFFF
    library.capset(header, data)


def _rights_removed(command: Command, _rng: Random) -> None:
    for name in ("out", "maps"):
        for path in [command.folder / name, *(command.folder / name).rglob("*")]:
            if path.is_dir():
                path.chmod(0o500)


@contextmanager
def _given_back(folder: Path, _rng: Random) -> Iterator[Undo]:
    def undo() -> None:
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)

    yield undo


def _source_of(command: Command) -> Path:
    """Return the file that the command reads its pixels from; of a folder, the largest in it."""
    names = ("a.tif", "scene.tif", "volume.nii", "image.zarr", "codes.tif")
    path = next(command.folder / name for name in names if (command.folder / name).exists())
    return max(sorted(path.rglob("*")), key=lambda file: file.stat().st_size) if path.is_dir() else path


def _source_cut(command: Command, rng: Random) -> None:
    path = _source_of(command)
    os.truncate(path, rng.randrange(path.stat().st_size))


def _source_deleted(command: Command, _rng: Random) -> None:
    _source_of(command).unlink()


def _source_overwritten(command: Command, rng: Random) -> None:
    """The same file, in place, with other values at its end."""
    path = _source_of(command)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(bytes(rng.randrange(256) for _ in range(size // 4)))


DISTURBANCES: Mapping[str, Disturbance] = {
    "SIGKILL of the group": Disturbance(_signal(signal.SIGKILL, group=True), weight=12),
    "SIGKILL": Disturbance(_signal(signal.SIGKILL), weight=6),
    "SIGTERM": Disturbance(_signal(signal.SIGTERM), weight=2),
    "SIGHUP": Disturbance(_signal(signal.SIGHUP)),
    "SIGINT": Disturbance(_signal(signal.SIGINT, group=True), weight=2),
    "SIGINT twice": Disturbance(_signal(signal.SIGINT, signal.SIGINT, group=True), weight=2),
    "SIGSTOP and SIGCONT": Disturbance(_signal(signal.SIGSTOP, signal.SIGCONT, pause=0.5)),
    "few descriptors": Disturbance(_nothing, _limit(resource.RLIMIT_NOFILE, 3, 80), weight=2),
    "little memory": Disturbance(_nothing, _limit(resource.RLIMIT_AS, 5 * 10**8, 6 * 10**9), weight=2),
    "full disk": Disturbance(_nothing, around=_small_disk, weight=3),
    "files of few bytes": Disturbance(_nothing, _limit(resource.RLIMIT_FSIZE, 100, 60_000)),
    "rights removed": Disturbance(
        _rights_removed, lambda _rng: _be_no_superuser, around=_given_back, weight=2
    ),
    "three at once": Disturbance(_three_at_once, weight=2),
    "results removed": Disturbance(_results_removed),
    "clock set back": Disturbance(_clock_set_back, weight=2),
    "source cut": Disturbance(_source_cut, needs_source=True, may_refuse=True, weight=2),
    "source deleted": Disturbance(_source_deleted, needs_source=True, may_refuse=True),
    "source overwritten": Disturbance(_source_overwritten, needs_source=True, may_refuse=True, weight=2),
}
