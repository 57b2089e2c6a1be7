"""Memory that the control groups of Linux leave: the limit of a container, less what cannot be given back.

A container counts the pages of files that were read as its use, but the kernel drops those of them that lie idle as
soon as a process asks for memory. What is in use is therefore the working set, usage less ``inactive_file``, as
Kubernetes counts it: https://kubernetes.io/docs/tasks/debug/debug-cluster/resource-metrics-pipeline/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final


@dataclass(frozen=True, slots=True)
class _Version:
    """Names of what a version of control groups keeps in the folder of a group."""

    mounts: tuple[str, ...]
    limits: tuple[str, ...]
    usage: str
    idle: str


V1: Final = _Version(("memory",), ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
V2: Final = _Version(("", "unified"), ("memory.max", "memory.high"), "memory.current", "inactive_file")


def container_bytes(root: Path = Path("/")) -> int | None:
    """Return the bytes that the tightest control group around this process can still give; None: no limit.

    Parameters
    ----------
    root
        Folder that holds ``sys/fs/cgroup`` and ``proc/self/cgroup``.
    """
    found = [left for version, folder in _limited(root) if (left := _left_in(folder, version)) is not None]
    return min(found, default=None)


@cache
def _limited(root: Path) -> tuple[tuple[_Version, Path], ...]:
    """Return the groups that have limits, whatever these are now; looked for once, as every scene of a batch asks."""
    return tuple(
        (version, folder)
        for version, folder in dict.fromkeys(_groups(root))
        if any((folder / name).exists() for name in version.limits)
    )


def _groups(root: Path) -> Iterator[tuple[_Version, Path]]:
    """Yield the folders of the groups that this process is in, and of those around them."""
    mount = root / "sys/fs/cgroup"
    for version, group in _own_groups(root / "proc/self/cgroup"):
        for name in version.mounts:
            # inside a container the mount may begin at its own group while the path is that of the host: then the
            # folder of the path is not there, and the root of the mount is the one that counts
            for path in (group, *group.parents):
                yield version, mount / name / path.relative_to("/")


def _own_groups(table: Path) -> Iterator[tuple[_Version, PurePosixPath]]:
    """Yield version and path of each line of ``/proc/self/cgroup``: ``number:controllers:path``."""
    try:
        lines = table.read_text().splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/", "0:memory:/"]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        group = PurePosixPath("/") / path
        if not controllers:
            yield V2, group
        elif "memory" in controllers.split(","):
            yield V1, group


def _left_in(folder: Path, version: _Version) -> int | None:
    limits = [limit for name in version.limits if (limit := _number(folder / name)) is not None]
    usage = _number(folder / version.usage)
    if not limits or usage is None:
        return None
    working_set = max(0, usage - _idle_bytes(folder / "memory.stat", version.idle))
    return max(0, min(limits) - working_set)


def _idle_bytes(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)


def _number(path: Path) -> int | None:
    """Return the number in a file; None if there is no file, or it says ``max``."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None  # no such group, or it limits nothing
    return int(text) if text.isdigit() else None
