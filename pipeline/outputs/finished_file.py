"""Files that appear under their final name only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import psutil

from segment_tiles.pipeline.durable import PARTIAL, make_folder, put_in_place
from segment_tiles.pipeline.errors import WriteFailedError, one_line

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NEARLY_FULL = 1_000_000
_in_work: set[str] = set()
"""Names of the temporary folders of this process."""
SECONDS_OF_A_DAY: Final = 86_400.0


@contextlib.contextmanager
def finished_files(*targets: Path) -> Iterator[tuple[Path, ...]]:
    """Give a path for each target in a temporary folder beside it; on success move what was written there.

    Content is on the disk before a name says that it is there, and the name before the block ends. A target may
    be a folder.

    The temporary folder is on the same disk, so that the move is one rename, and files in it carry
    their final names, because GDAL writes some of these names into others. No other process has the same;
    those that killed processes left are removed first. Targets share one folder and move in the order given: name
    last the one that says that all is done. A target for which nothing was written is removed: an
    older one does not belong to what is new.

    The folder of the targets is there already: one that a user removed during a run is not made again, because
    what is then written into it would be files without the books of their run.

    Raises
    ------
    WriteFailedError
        If the disk is full, read-only, or fails, or the folder has gone; no target has changed then, unless the last
        renames themselves fail.
    """
    folder = targets[-1].parent
    partial = folder / _partial_name(targets[-1].name)
    try:
        _remove_leftovers(targets[-1])
        _in_work.add(partial.name)  # before it is there: another thread may look for leftovers
        partial.mkdir()
        yield tuple(partial / target.name for target in targets)
        if not partial.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(partial))
        for target in targets:
            written = partial / target.name
            if written.exists():
                put_in_place(written, target)
            else:
                target.unlink(missing_ok=True)
    except OSError as error:
        raise write_failed(targets[-1], error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        _in_work.discard(partial.name)


def _partial_name(name: str) -> str:
    return f".{name}.{platform.node()}-{os.getpid()}-{uuid4().hex[:8]}{PARTIAL}"


def _remove_leftovers(target: Path) -> None:
    """Remove temporary folders of this target whose process is dead; of another machine's, after a day."""
    for folder in target.parent.glob(f".{glob.escape(target.name)}*{PARTIAL}"):
        who = folder.name.removeprefix(f".{target.name}").removesuffix(PARTIAL)
        node, _, rest = who.removeprefix(".").rpartition("-")[0].rpartition("-")
        if who and not (who.startswith(".") and node and rest.isdecimal()):
            continue  # of another file whose name begins alike
        if not who or not _may_be_alive(folder, node, int(rest)):
            shutil.rmtree(folder, ignore_errors=True)


def _may_be_alive(folder: Path, node: str, process: int) -> bool:
    if node == platform.node() and process == os.getpid():
        # else of a process that had this number before the machine started anew
        return folder.name in _in_work
    if node == platform.node():
        return psutil.pid_exists(process)
    with contextlib.suppress(OSError):
        return time.time() - folder.stat().st_mtime < SECONDS_OF_A_DAY
    return False


def make_output_folder(folder: Path) -> None:
    """Make a folder for results, and those above it, before anything is written into it.

    Raises
    ------
    WriteFailedError
        If it cannot be made.
    """
    try:
        make_folder(folder)
    except OSError as error:
        raise write_failed(folder, error) from error


@contextlib.contextmanager
def finished_file(target: Path) -> Iterator[Path]:
    """Give a temporary path beside the target; on success move what was written there to the target.

    Raises
    ------
    WriteFailedError
        As in `finished_files`.
    """
    with finished_files(target) as (written,):
        yield written


def write_failed(path: object, error: OSError) -> WriteFailedError:
    """Return the error for the user: what could not be written, why, and what to do."""
    shown = str(path).removeprefix("file://")
    free = _free_bytes(Path(shown))
    # GDAL's errors have words but no number; they differ with the byte at which the disk was full
    if error.errno in _FULL or (error.errno is None and free < _NEARLY_FULL):
        cause, remedy = "the disk is full", "free space"
    elif error.errno == errno.ENOENT and not Path(shown).parent.is_dir():
        cause, remedy = "its folder is not there any more", "find out what removed or moved it"
    elif error.errno in _FORBIDDEN:
        cause, remedy = "writing there is not allowed", "make the folder writable or choose another"
    else:
        cause, remedy = one_line(error), f"check the disk ({free / 1e6:,.0f} MB are free)"
    return WriteFailedError(
        f"{shown}: cannot be written: {cause}; {remedy}, then start the same command again"
    )


def _free_bytes(path: Path) -> int:
    folder = next(parent for parent in (path, *path.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(folder).free
