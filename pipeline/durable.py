"""What is written reaches the disk, in the order in which it must: the one room for it.

A program that is killed loses nothing that it wrote: the system has it. A machine that loses its power loses
what was not on the disk yet, and a file system may then show a new name with old or no content. So content
goes to the disk first, then the name, then the folder that holds the name::

    write X.partial -> sync X.partial -> rename it to X -> sync the folder of X

Only then may anything, such as a row of a ledger, say that X is there.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

if sys.platform == "darwin":
    import fcntl

PARTIAL: Final = ".partial"
"""Ending of names under which something is written that is not whole yet; zarr has the same."""
_NO_SUCH_CALL: Final = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM}
"""What file systems say, and Windows, that cannot sync a folder: they keep names by themselves, or cannot."""


def sync_file(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        _sync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, if the file system knows such a thing."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        if error.errno in _NO_SUCH_CALL:
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL:
            raise
    finally:
        os.close(handle)


def sync_files(paths: Iterable[Path], below: Path) -> None:
    """Wait until files and all their folders are on the disk, up to and with one that holds them all.

    Each folder is waited for once, the deepest first.
    """
    folders: set[Path] = {below}
    for path in paths:
        sync_file(path)
        folders.update(parent for parent in path.parents if parent.is_relative_to(below))
    for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
        sync_folder(folder)


def sync_tree(path: Path) -> None:
    """Wait until a file, or a folder with everything in it, is on the disk."""
    if not path.is_dir():
        sync_file(path)
        return
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            file = Path(folder, name)
            if not file.is_symlink():
                sync_file(file)
        sync_folder(Path(folder))


def make_folder(path: Path) -> None:
    """Make a folder and those above it, and wait until their names are on the disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def put_in_place(written: Path, target: Path, *, waits: bool = True) -> None:
    """Give what was written its final name, once it is on the disk, in place of what had it.

    Parameters
    ----------
    written
        A file, or a folder with everything in it, on the same file system.
    target
        The final name. A folder that has it is removed just before: only files can be replaced in one step.
    waits
        False does not wait for the disk: for what is checked before it is used, and for what is worth nothing
        after a power cut.
    """
    if waits:
        sync_tree(written)
    if target.is_dir() and not target.is_symlink():
        older = written.with_name(f"{written.name}.older{PARTIAL}")
        target.replace(older)
        written.replace(target)
        remove(older)
    else:
        written.replace(target)
    if waits:
        sync_folder(target.parent)


def write_whole(target: Path, content: str | bytes, *, waits: bool = True) -> None:
    """Write a small file that has its name only when it is whole and on the disk.

    Any number of processes may do it at a time; the last one stays. ``waits`` as in `put_in_place`.

    Raises
    ------
    OSError
        If it cannot be written; what stood there before stays.
    """
    with whole_file(target, waits=waits) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(target: Path, *, waits: bool = True) -> Iterator[Path]:
    """Give a path beside the target; what was written there has the name of the target when the block ends well.

    Any number of processes may do it at a time; the last one stays. ``waits`` as in `put_in_place`. Where results of
    a run are written, `finished_file` does more: it makes folders, and says what to do if the disk is full.

    Raises
    ------
    OSError
        If it cannot get its name; what stood there before stays.
    """
    partial = partial_beside(target)
    try:
        yield partial
        put_in_place(partial, target, waits=waits)
    finally:
        partial.unlink(missing_ok=True)


def partial_beside(target: Path) -> Path:
    """Return a name beside the target that no other thread or process uses, under which it can be written."""
    return target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL}")


def remove(path: Path) -> None:
    """Remove a file, or a folder with everything in it, if it is there; a link is removed, not what it names."""
    if path.is_dir() and not path.is_symlink():
        for entry in path.iterdir():
            remove(entry)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left below a folder under names of things that are not whole.

    Nobody else may be at work there.
    """
    for parent, folders, files in os.walk(folder):
        for name in [name for name in folders if name.endswith(PARTIAL)]:
            remove(Path(parent, name))
            folders.remove(name)
        for name in files:
            if name.endswith(PARTIAL):
                Path(parent, name).unlink(missing_ok=True)


def _sync(handle: int) -> None:
    """Sync one file; macOS needs more than fsync to get past the cache of the disk."""
    if sys.platform == "darwin":
        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
    else:
        os.fsync(handle)
