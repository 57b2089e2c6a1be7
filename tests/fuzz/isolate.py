"""One command in a forked process of its own: what it printed, how it ended, how much memory it took."""

from __future__ import annotations

import atexit
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS_AT_MOST = 60.0
BYTES_AT_MOST = 3 * 10**9
ADDRESS_SPACE = 12 * 2**30
"""A limit that stops a run-away allocation before the machine suffers; torch maps much that it never touches."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    status: int
    """Exit status; minus the number of the signal that ended it."""
    stdout: str
    stderr: str
    seconds: float
    peak_bytes: int
    is_hung: bool


def run_isolated(arguments: Sequence[str], folder: Path) -> Outcome:
    """Run a command of ours in a child process that has everything imported already.

    The child is a fork of this process, which must not have started threads of its own.
    """
    outputs = [folder / "stdout.txt", folder / "stderr.txt"]
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        be_the_command(arguments, folder, outputs)
    is_hung, status, usage = _wait(child, started)
    return Outcome(
        os.waitstatus_to_exitcode(status),
        outputs[0].read_text(errors="replace"),
        outputs[1].read_text(errors="replace"),
        time.monotonic() - started,
        usage.ru_maxrss * 1024,
        is_hung,
    )


def _wait(child: int, started: float) -> tuple[bool, int, resource.struct_rusage]:
    is_hung = False
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return is_hung, status, usage
        if time.monotonic() - started > SECONDS_AT_MOST and not is_hung:
            is_hung = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.005)


def be_the_command(
    arguments: Sequence[str],
    folder: Path,
    outputs: Sequence[Path],
    prepare: Callable[[], None] | None = None,
) -> None:
    """Become the command: its own process group, folder and streams; ends as an interpreter ends.

    ``prepare`` is called last before the command: it sets limits.
    """
    status = 70
    try:
        os.setsid()
        for number, output in enumerate(outputs, 1):
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        from segment_tiles.cli.main import prepare_process, run_command_line

        prepare_process(list(arguments))
        if prepare is not None:
            prepare()
        status = run_command_line(list(arguments))
        threading._shutdown()  # what the interpreter does: threads that never end are hangs
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - a finding, told as one
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status & 0xFF)
