"""One run at a time in an output directory, also if several machines see it.

The lock of the file system decides; a process that dies frees it. Some network file systems keep locks to the
machine that took them, so the holder also refreshes a file that says who it is: while that file is fresh and
names another machine, the directory is taken.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from segment_tiles.pipeline.durable import write_whole
from segment_tiles.pipeline.errors import OutputError, SegmentTilesError, WriteFailedError, one_line
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.outputs.finished_file import make_output_folder, write_failed

logger = logging.getLogger(__name__)

LOCK_FILES = {"lock", "holder.json"}
"""What lies in a folder that is held."""
REFRESH_SECONDS = 10.0
"""How often a holder says that it is still there."""
GONE_SECONDS = 45.0
"""After which a holder on another machine that has not said so is taken for dead."""


@contextmanager
def held(own: Path, out: Path, what: str = "folder") -> Iterator[None]:
    """Hold the lock of an output directory.

    Parameters
    ----------
    own
        Folder inside it that exists, where the lock lies.
    out
        The directory or the file as the user named it.
    what
        Of these the user can give another.

    Raises
    ------
    OutputError
        If another process holds it: says which, on which machine, since when. Or if the file system has
        no locks.
    """
    holder = own / "holder.json"
    lock = FileLock(own / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        msg = f"--out {out}: {_who(holder)} is at work here; wait for it or give another {what}"
        raise OutputError(msg) from error
    except (OSError, NotImplementedError) as error:
        raise _no_lock(out, error) from error
    try:
        try:
            _refuse_holder_elsewhere(holder, out, what)
            _write(holder)
        except OSError as error:
            raise _no_lock(out, error) from error
        try:
            with _refreshed(holder):
                yield
        finally:
            _remove(holder)
    finally:
        lock.release()


def _no_lock(out: Path, error: Exception) -> OutputError:
    return OutputError(
        f"--out {out}: cannot be locked ({one_line(error)}); give a folder that can be written, on a file system "
        "with locks"
    )


def _remove(path: Path) -> None:
    """Remove a file of the lock; if that is not possible any more, what went wrong before matters, and not this.

    A holder that stays is old in 45 s, and on this machine the lock alone counts.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.debug("%s stays: %s", path, error)


@contextmanager
def held_folder(own: Path, out: Path, what: str = "folder", *, gives_back: bool = True) -> Iterator[None]:
    """Make a folder and hold its lock; at the end it is removed if nothing else lies in it.

    Parameters
    ----------
    own, out, what
        As of `held`.
    gives_back
        False leaves it there, with its lock.

    Raises
    ------
    OutputError
        As `held`.
    WriteFailedError
        The folder cannot be made.
    """
    with ExitStack() as stack:
        while True:
            make_output_folder(own)
            with ExitStack() as attempt:
                try:
                    attempt.enter_context(held(own, out, what))
                except OutputError:
                    if own.is_dir():
                        raise
                    continue
                # a holder that ended this moment removed the folder, and with it the lock that was waited for
                if (own / "lock").exists():
                    stack.enter_context(attempt.pop_all())
                    break
        try:
            with removal_told(own, out):
                yield
        finally:
            if gives_back:
                _give_back(own)


@contextmanager
def removal_told(own: Path, out: Path) -> Iterator[None]:
    """Say of whatever goes wrong while a folder is held that the folder was removed, or that its disk fails.

    Raises
    ------
    WriteFailedError
        In place of what libraries say of files that are not there any more, and of what the system says of a file in
        the folder, whichever step touched it.
    """
    try:
        yield
    except SegmentTilesError:
        raise
    except Exception as error:
        if (own / "lock").exists():
            if isinstance(error, OSError) and _is_inside(error.filename, own, out):
                raise write_failed(error.filename, error) from error
            raise
        msg = f"--out {out}: {own} was removed or moved while this command worked there; start the same command again"
        raise WriteFailedError(msg) from error


def _is_inside(name: object, *folders: Path) -> bool:
    if not isinstance(name, str | os.PathLike):
        return False
    path = Path(name).absolute()
    return any(path.is_relative_to(folder.absolute()) for folder in folders)


def _give_back(own: Path) -> None:
    """Remove the lock and its folder, if nothing else lies there; this process still holds it."""
    try:
        if {entry.name for entry in own.iterdir()} <= LOCK_FILES:
            for name in LOCK_FILES:
                _remove(own / name)
            own.rmdir()
    except OSError as error:  # gone already, or another process is at work there
        logger.debug("%s stays: %s", own, error)


def _refuse_holder_elsewhere(holder: Path, out: Path, what: str) -> None:
    """Refuse where the lock is free, but only because this file system keeps locks to one machine."""
    fields = _fields(holder)
    if fields.get("machine") in {None, platform.node()}:
        return
    now = holder.with_name(f"now-{platform.node()}-{os.getpid()}")
    now.touch()  # the clock of the file server, not of this machine
    try:
        age = now.stat().st_mtime - holder.stat().st_mtime
    except FileNotFoundError:
        return  # given back this moment
    finally:
        now.unlink()
    if age < GONE_SECONDS:
        msg = (
            f"--out {out}: {_who(holder)} is at work here; wait for it or give another {what} (if it was killed, "
            f"the {what} is free {GONE_SECONDS:.0f} s later)"
        )
        raise OutputError(msg)


def _write(holder: Path) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    write_whole(
        holder,
        json_text({"process": os.getpid(), "machine": platform.node(), "since": since}, indent=None),
        waits=False,
    )


def _fields(holder: Path) -> dict[str, object]:
    with suppress(OSError, ValueError):
        fields = json.loads(holder.read_text())
        if isinstance(fields, dict):
            return fields
    return {}


def _who(holder: Path) -> str:
    fields = _fields(holder)
    if {"process", "machine", "since"} <= fields.keys():
        return f"process {fields['process']} on {fields['machine']}, since {fields['since']}"
    return "another process"


@contextmanager
def _refreshed(holder: Path) -> Iterator[None]:
    """Keep a file fresh from a thread of its own: Regions and formats take as long as they take."""
    done = threading.Event()

    def refresh() -> None:
        while not done.wait(REFRESH_SECONDS):
            with suppress(OSError):  # a network that is away for a moment; the next one counts
                os.utime(holder)

    thread = threading.Thread(target=refresh, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
