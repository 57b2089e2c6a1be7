"""What no part of the program foresaw becomes one line and a file to report it with, never a traceback."""

from __future__ import annotations

import errno
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from segment_tiles.pipeline.installed import cache_folder
from segment_tiles.pipeline.names import without_secrets

REPORTED_VERSIONS = (
    "segment-tiles", "torch", "rasterio", "zarr", "dask", "numpy", "pyogrio", "geopandas", "openslide-python",
    "tifffile", "nibabel", "pydicom", "highdicom", "openvino", "onnxruntime",
)  # fmt: skip
"""Packages whose versions a report names, if they are installed."""
EXIT_STATUS = 1
"""Of every error that was not foreseen."""


def describe_unforeseen(error: BaseException, arguments: Sequence[str]) -> str:
    """Return the one line for an error that nothing foresaw; what is no shortage of this machine gets a report.

    Parameters
    ----------
    error
        What nobody handled.
    arguments
        Of the command, without the name of the program.
    """
    return _shortage(error) or _with_report(error, arguments)


def _shortage(error: BaseException) -> str | None:
    """Return the line for errors that tell of the machine and not of the program; None for all others."""
    for found in _chain(error):
        if any(words in str(found) for words in _NO_GPU_MEMORY):
            return "the GPU has too little memory free; close other programs on it, or give a smaller --batch"
        if isinstance(found, MemoryError) or _is_no_memory(found):
            return "this machine has too little memory free for the command; close other programs or give --memory"
        if os.strerror(errno.EMFILE) in str(
            found
        ):  # libraries that are no OSError have the words of the system
            return _OS_LINES[errno.EMFILE]
        if isinstance(found, OSError) and found.errno in _OS_LINES:
            name = "" if found.filename is None else f"{found.filename}: "
            return f"{name}{_OS_LINES[found.errno]}"
    return None


_OS_LINES = {
    errno.EMFILE: "too many open files for this process; raise the limit with `ulimit -n 1024` and start again",
    errno.ENFILE: "too many open files on this machine; close other programs and start again",
    errno.ENOSPC: "the disk is full; free some space and start the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and start the same command again",
    errno.EROFS: "the file system is read-only; give a folder that can be written",
    errno.EACCES: "permission denied; give a file or folder that this user may use",
    errno.EPERM: "the operation is not permitted; give a file or folder that this user may use",
}


def _is_no_memory(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return any(words in str(error) for words in _NO_MEMORY)


_NO_MEMORY = (
    "can't start new thread", "DefaultCPUAllocator", "bad_alloc", "failed to map segment", "Unable to allocate",
    os.strerror(errno.ENOMEM),
)  # fmt: skip
"""What Python, torch, C++, the loader of libraries, NumPy and the system say of too little memory."""


_NO_GPU_MEMORY = ("CUDA out of memory", "CUDA error: out of memory")
"""What torch says of it."""


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and what it was raised from, the newest first."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or _handled(current)
    return chain


def _handled(error: BaseException) -> BaseException | None:
    """Return what was being handled when a library raised its own error for it.

    Of other types the newer one is a bug that needs a report, whatever was being handled at that moment.
    """
    is_told_anew = isinstance(error, OSError | RuntimeError) and not error.__suppress_context__
    return error.__context__ if is_told_anew else None


def _with_report(error: BaseException, arguments: Sequence[str]) -> str:
    summary = f"{type(error).__name__}: {' '.join(without_secrets(str(error)).split())[:200]}"
    said = f"this was not foreseen ({summary})"
    file = _write_report(error, arguments)
    if file is None:
        return f"{said}; no report could be written, neither here nor in the cache folder"
    return f"{said}; please report it with the file {file}"


def _write_report(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """Write versions, command and traceback into the working folder, else into the cache folder."""
    text = _report(error, arguments)
    cache = cache_folder()
    name = f"segment-tiles-error-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    for folder in (Path.cwd, lambda: cache):
        try:
            file = folder() / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return file
    return None


def _report(error: BaseException, arguments: Sequence[str]) -> str:
    lines = [
        f"command: segment-tiles {' '.join(arguments)}",
        f"time: {datetime.now(UTC).isoformat(timespec='seconds')}",
        f"python: {sys.version.split()[0]} on {platform.platform()}",
        *(f"{name}: {found}" for name in REPORTED_VERSIONS if (found := _version(name))),
        "",
        *traceback.format_exception(error),
    ]
    return "\n".join(without_secrets(line) for line in lines)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
