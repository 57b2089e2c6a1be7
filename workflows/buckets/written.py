"""Files that commands write, which may have a URL: made on this disk, and sent one after the other, each whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from segment_tiles.pipeline.durable import make_folder
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.outputs.stores.seals import seal_of
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.places.protocol import RESULT_SECONDS, Place
from segment_tiles.workflows.buckets.address import address_of, on_this_disk, said_of
from segment_tiles.workflows.buckets.scratch import scratch_folder


def _none(_written: Path) -> Sequence[Path]:
    return ()


@contextmanager
def written_here(
    out: Path,
    *,
    last: str = "",
    whatever_happens: bool = False,
    brought: Callable[[Path], Sequence[Path]] = _none,
    replaced: Callable[[Path], Sequence[Path]] = _none,
) -> Iterator[Path]:
    """Give a path on this disk; what was written there, files or a folder, goes to the URL that ``out`` was given as.

    Files are written one after the other when the block ends, each whole.

    Parameters
    ----------
    out
        As the user gave it.
    last
        Name of the file that is written after all others.
    whatever_happens
        Write what is there also if the block ends with an error.
    brought
        Asked for small files, by the path that is given: those that are at the URL already are there when the block
        begins, and sent again if they have changed.
    replaced
        As ``brought`` for files of before that are not brought. Files of both are removed at the URL, if the block ends
        well and they are not there then.

    Raises
    ------
    UsageError
        If the URL names a bucket, but nothing in it.
    PlaceError
        If there is no such bucket or no right to write into it: asked before, with an object that is removed again.
    """
    out = on_this_disk(out)
    address = address_of(out)
    if address is None:
        yield out
        return
    place, name = require_right(address)
    with scratch_folder() as folder, said_of(place.name, folder):
        written = folder / name

        def keys(paths: Sequence[Path]) -> list[str]:
            return [path.relative_to(folder).as_posix() for path in paths]

        seals = {}
        for key in keys(brought(written)):
            found = place.read(key)
            if found is not None:
                make_folder((folder / key).parent)
                (folder / key).write_bytes(found.data)
                seals[key] = seal_of(folder / key)
        has_ended = False
        try:
            yield written
            has_ended = True
        finally:
            files = sorted(
                (p for p in folder.rglob("*") if p.is_file()), key=lambda path: (path.name == last, path)
            )
            if has_ended or whatever_happens:
                for key in keys(files):
                    if key not in seals or not seals[key].is_kept(folder / key):
                        place.put_file(key, folder / key)
            if has_ended:
                stale = {*keys(brought(written)), *keys(replaced(written))}.difference(keys(files))
                place.delete_all(sorted(stale))


def is_written(path: Path) -> bool:
    """Return whether a file is there, on this disk or at its URL.

    Raises
    ------
    PlaceError
        If a bucket does not answer.
    """
    address = address_of(on_this_disk(path))
    if address is None:
        return path.exists()
    parent, _, name = address.rpartition("/")
    return place_at(parent, RESULT_SECONDS).read(unquote(name)) is not None


def require_right(address: str) -> tuple[Place, str]:
    """Return the place that a URL lies in, and its name there, once something could be written there.

    Raises
    ------
    UsageError
        If it names a bucket, but nothing in it.
    PlaceError
        If there is no such bucket or no right to write into it: asked with an object that is removed again.
    """
    parent, _, name = address.rstrip("/").rpartition("/")
    if "://" not in parent or parent.endswith("//"):
        msg = f"--out {address}: names a bucket, but nothing in it; give {address.rstrip('/')}/NAME"
        raise UsageError(msg)
    place, name = place_at(parent, RESULT_SECONDS), unquote(name)
    probe = f"{name}.segment-tiles-probe"
    place.put(probe, b"")
    place.delete(probe)
    return place, name
