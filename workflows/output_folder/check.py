"""Whether results can be written where the user says: asked before anything is computed, leaving nothing behind."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from segment_tiles.pipeline.errors import OutputError, PlanError, UsageError, one_line
from segment_tiles.pipeline.wording import readable_bytes

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")
"""What a path has as a part if the user gave ``s3://bucket``; a drive of Windows has one letter."""
_VIRTUAL = re.compile(r"vsi[a-z0-9_]+")
"""First folder of GDAL's names of virtual file systems, such as ``/vsis3/bucket``."""


def check_output_folder(path: Path, option: str = "--out") -> None:
    """Refuse a folder that cannot be written: a URL, a file, inside a file, read-only.

    Folders above it that are missing are no obstacle: they are made.

    Parameters
    ----------
    path
        Folder, which may not be there yet.
    option
        What the user gave it for.

    Raises
    ------
    UsageError
        If it is a URL.
    OutputError
        If it is no folder or cannot be written.
    """
    refuse_url(path, option)
    if path.exists() and not path.is_dir():
        msg = f"{option} {path}: is a file; give a folder, new or of an earlier run"
        raise OutputError(msg)
    _check_writable(path, f"{option} {path}")


def check_output_file(path: Path, option: str = "--out", *, is_folder: bool = False) -> None:
    """Refuse a file that cannot be written: a URL, a folder, or in a folder that cannot be written.

    Parameters
    ----------
    path
        The file, which may not be there yet.
    option
        What the user gave it for.
    is_folder
        Its format is a folder, and that of an earlier request is replaced.

    Raises
    ------
    UsageError
        If it is a URL.
    OutputError
        If it is a folder or cannot be written.
    """
    refuse_url(path, option)
    if path.is_dir() and not is_folder:
        msg = f"{option} {path}: is a folder; give the name of a file"
        raise OutputError(msg)
    _check_writable(path.parent, f"{option} {path}")


def refuse_url(path: Path | str, option: str) -> None:
    """Refuse what names an object store or a server, where a command writes into folders only.

    Raises
    ------
    UsageError
        Naming it.
    """
    parts = Path(path).parts
    scheme = next((part for part in parts if _SCHEME.fullmatch(part)), None)
    is_virtual = len(parts) > 1 and parts[0] in {"/", "\\"} and _VIRTUAL.fullmatch(parts[1])
    if scheme is None and not is_virtual:
        return
    # a path has lost one of the two slashes
    name = str(path) if scheme is None else f"{scheme}//{'/'.join(parts[parts.index(scheme) + 1 :])}"
    msg = (
        f"{option} {name}: this can be written into a folder only; give a folder, and copy it afterwards, "
        "as with: aws s3 cp --recursive DIR s3://BUCKET/PATH"
    )
    raise UsageError(msg)


def check_disk(needed: int, path: Path, option: str = "--out") -> None:
    """Refuse a run whose results would not fit on the file system of its output directory.

    Parameters
    ----------
    needed
        Bytes that are still to be written, as the Plan estimates.
    path
        Output directory, which may not be there yet.
    option
        What the user gave it for.

    Raises
    ------
    PlanError
        With both numbers.
    """
    usage = shutil.disk_usage(_existing(path))
    free = usage.free
    # some file systems over object stores say nothing: 0 of 0
    if usage.total and needed > free:
        msg = (
            f"{option} {path}: the results take about {readable_bytes(needed)}, but {readable_bytes(free)} are free "
            "there; free space, or give an --out on another disk, a smaller --roi, or no --scores"
        )
        raise PlanError(msg)


def _existing(path: Path) -> Path:
    """Return the nearest of a path and the folders above it that is there."""
    absolute = path.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if folder.exists())


def _check_writable(folder: Path, what: str) -> None:
    """Make a folder there and remove it: permissions alone do not tell of quotas and read-only file systems."""
    nearest = _existing(folder)
    if not nearest.is_dir():
        msg = f"{what}: {nearest} is a file; give a folder"
        raise OutputError(msg)
    try:
        Path(tempfile.mkdtemp(prefix=".segment-tiles-", dir=nearest)).rmdir()
    except OSError as error:
        reason = error.strerror or one_line(error)
        msg = f"{what}: cannot be written ({reason}: {nearest}); give a folder that can"
        raise OutputError(msg) from error
