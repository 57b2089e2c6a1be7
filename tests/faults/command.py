"""A command of ours in a process group of its own that can be disturbed while it works."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from fuzz.isolate import be_the_command

HANG_SECONDS = 60.0
"""Without computing anything: other work on the machine makes a command slow, and does not make it hang."""
LIMIT_SECONDS = 600.0
"""For a command that goes on computing."""
NOT_OURS: set[int] = set()
"""Processes that commands use and did not start."""
GONE_SECONDS = 10.0
"""After the end of a command, until when each of its processes has to be gone."""


@dataclass(slots=True)
class Command:
    """A started command."""

    arguments: Sequence[str]
    folder: Path
    pid: int
    started: float
    name: str
    status: int | None = None
    """Exit status once it ended; minus the number of the signal that ended it."""
    is_hung: bool = False
    ended: float = field(default=0.0)
    beside: list[Command] = field(default_factory=list)
    """Further starts of the same command at the same time."""
    _busy: tuple[float, float] = (0.0, 0.0)
    """Seconds of processor that its processes had taken, and when that was last more than before."""

    @property
    def stderr(self) -> str:
        return (self.folder / f"{self.name}.stderr").read_text(errors="replace")

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started

    def poll(self) -> int | None:
        """Return the exit status if it has ended."""
        if self.status is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.status, self.ended = os.waitstatus_to_exitcode(status), time.monotonic()
        return self.status

    def wait(self) -> int:
        """Wait for the end; a command that hangs is killed."""
        while self.poll() is None:
            if self.seconds > HANG_SECONDS and not self.is_hung and self._is_idle():
                self.is_hung = True
                self.signal(signal.SIGKILL)
            time.sleep(0.005)
        assert self.status is not None
        return self.status

    def _is_idle(self) -> bool:
        """Return whether none of its processes has computed for a while, or they all have for too long."""
        taken, since = self._busy
        if time.monotonic() - since < 1.0:
            return False
        now = _processor_seconds(self.pid)
        if (
            abs(now - taken) > 0.05 or since == 0.0
        ):  # less than before: a child has ended, so something happened
            self._busy = (now, time.monotonic())
        return time.monotonic() - self._busy[1] > HANG_SECONDS or self.seconds > LIMIT_SECONDS

    def wait_until(self, seconds: float) -> None:
        """Wait until so long after the start, or for the end."""
        while self.poll() is None and self.seconds < seconds:
            time.sleep(0.002)

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the command, or to its whole process group as a terminal does."""
        if self.poll() is None:
            (os.killpg if group else os.kill)(self.pid, number)


def start(
    arguments: Sequence[str],
    folder: Path,
    name: str = "command",
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[], None] | None = None,
) -> Command:
    """Start a command in a fork of this process; ``prepare`` runs in the child first."""
    started = time.monotonic()
    outputs = [folder / f"{name}.stdout", folder / f"{name}.stderr"]
    for file in outputs:  # here: the child may be killed before it comes to it
        file.touch()
    child = os.fork()
    if child == 0:
        os.environ.update(environment or {})
        be_the_command(arguments, folder, outputs, prepare)
    for number in range(1000):  # until it has a process group of its own, which signals go to
        if os.getpgid(child) == child or number == 999:
            break
        time.sleep(0.001)
    return Command(arguments, folder, child, started, name)


def _processor_seconds(pid: int) -> float:
    """Return what a process and all its descendants have taken of the processor."""
    taken = 0.0
    try:
        main = psutil.Process(pid)
        for process in (main, *main.children(recursive=True)):
            times = process.cpu_times()
            taken += times.user + times.system + times.children_user + times.children_system
    except psutil.Error:  # one of them has just ended
        pass
    return taken


def processes_left() -> list[str]:
    """Wait until nothing that commands started is alive; return what is after the time that they have.

    This process is the subreaper of all it started: orphans become its children.
    """
    until = time.monotonic() + GONE_SECONDS
    while True:
        alive = []
        for process in psutil.Process().children(recursive=True):
            if process.pid in NOT_OURS:
                continue
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(process.pid, os.WNOHANG)
                else:
                    alive.append(f"{process.pid} {' '.join(process.cmdline())[-80:]}")
            except (psutil.Error, ChildProcessError):
                continue
        if not alive or time.monotonic() > until:
            return alive
        time.sleep(0.05)


def end_processes_left() -> None:
    """Kill what is left, so that the next attempt starts clean."""
    for process in psutil.Process().children(recursive=True):
        if process.pid in NOT_OURS:
            continue
        try:
            process.kill()
            os.waitpid(process.pid, 0)
        except (psutil.Error, ChildProcessError):
            continue
