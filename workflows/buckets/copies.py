"""Results at URLs for commands that read and write files: copies of this machine, made before and published after."""

from __future__ import annotations

import atexit
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.places.address import SCHEMES, place_at
from segment_tiles.pipeline.places.protocol import RESULT_SECONDS, Version
from segment_tiles.workflows.buckets.address import address_of, on_this_disk, said_of
from segment_tiles.workflows.buckets.layout import MARK, REPORT_KEY
from segment_tiles.workflows.buckets.result import BucketResult, opened
from segment_tiles.workflows.buckets.scratch import scratch_folder
from segment_tiles.workflows.output_folder.directory import OWN_FOLDER, OutputDirectory
from segment_tiles.workflows.results.formats.format import tell_nobody
from segment_tiles.workflows.run.export import export_run

_STORE = "classes.zarr"


@contextmanager
def read_here(path: Path | str) -> Iterator[Path]:
    """Give the class map of a result at a URL as the folder of a run on this disk; a path is given as it is.

    Parameters
    ----------
    path
        The URL of a result or of its ``classes.zarr``; or a path, or a URL of another thing, which are left alone.

    Raises
    ------
    OutputError
        If no run came to its end there.
    PlaceError
        If the place does not answer.
    """
    address = _of_result(path)
    if address is None:
        yield on_this_disk(Path(path))
        return
    with opened(address, tell_nobody, only_looks=True) as result, said_of(address, result.folder):
        _require_whole(result)
        result.fetch(
            lambda key: key.startswith((f"{_STORE}/", f"{OWN_FOLDER}/", "report.json", "labels.zarr/"))
        )
        yield result.folder


def copy_until_exit(path: Path) -> Path:
    """Return the folder of a result: a path as it is, of a URL a copy that is removed when the process ends.

    Raises
    ------
    OutputError
        If no run came to its end there.
    PlaceError
        If the place does not answer.
    """
    path = on_this_disk(path)
    address = address_of(path)
    if address is None:
        return path
    found = place_at(address).read(MARK)
    return _copy(address, None if found is None else found.version)


@cache
def _copy(address: str, _version: Version | None) -> Path:
    """Return a copy of one state of a result: after another run there is another one."""
    stack = ExitStack()
    atexit.register(stack.close)
    result = stack.enter_context(opened(address, tell_nobody, only_looks=True))
    _require_whole(result)
    result.fetch()
    return result.folder


def _require_whole(result: BucketResult) -> Mapping[str, Any]:
    """Return the mark of a whole result.

    Raises
    ------
    OutputError
        If no run came to its end there.
    """
    mark = result.mark()
    if mark is None:
        msg = (
            f"{result.address}: holds no finished run; give the --out of a run that ended with exit status 0"
        )
        raise OutputError(msg)
    return mark


def is_result(path: Path | str) -> bool:
    """Return whether a name is the URL of a result in a bucket, and no path and no file there, which GDAL reads."""
    return _of_result(path) is not None


def _of_result(path: Path | str) -> str | None:
    """Return the URL of a result: objects lie below it."""
    parts = Path(path).parts
    if not parts or parts[0].rstrip(":") not in SCHEMES or not parts[0].endswith(":"):
        return None
    address = f"{parts[0]}//{'/'.join(parts[1:])}".removesuffix(f"/{_STORE}")
    return address if place_at(address).list() else None


def part_here(out: Path, folder: Path, is_wanted: Callable[[str], bool]) -> Path:
    """Return the output directory of a run; of one at a URL ``folder``, into which what is wanted of it is brought.

    Parameters
    ----------
    out
        The ``--out`` of the run.
    folder
        On this disk, empty or not there yet.
    is_wanted
        Told of the key of each object, which is the path of a file in an output directory.

    Raises
    ------
    PlaceError
        If the place does not answer.
    """
    out = on_this_disk(out)
    address = address_of(out)
    if address is None:
        return out
    place = place_at(address, RESULT_SECONDS)
    for key in filter(is_wanted, place.list()):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        place.read_file(key, path)
    return folder


def report_of(out: Path) -> dict[str, Any]:
    """Return the report of a finished run, in a folder or at a URL.

    Raises
    ------
    OSError, ValueError
        If there is none that can be read.
    PlaceError
        If the place does not answer.
    """
    with scratch_folder() as scratch:
        folder = part_here(out, scratch, REPORT_KEY.__eq__)
        report: dict[str, Any] = json.loads(OutputDirectory(folder).report.read_text(encoding="utf-8"))
    return report


def export(path: Path, formats: list[str], tell: Callable[[str], None], **options: object) -> list[str]:
    """Make formats of a finished run in a folder or at a URL; parameters and errors are those of `export_run`.

    Raises
    ------
    OutputError
        If no run came to its end there.
    """
    path = on_this_disk(path)
    address = address_of(path)
    if address is None:
        return export_run(path, formats, **options)  # type: ignore[arg-type]
    with opened(address, tell) as result, said_of(address, result.folder):
        mark = _require_whole(result)
        result.fetch()
        written = export_run(result.folder, formats, **options)  # type: ignore[arg-type]
        result.publish(mark["request"])
    return written
