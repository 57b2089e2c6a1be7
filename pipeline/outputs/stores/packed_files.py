"""Files of a folder as the bytes of one object: a ZIP whose bytes depend on names and contents alone."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.durable import make_folder, write_whole
from segment_tiles.pipeline.places.protocol import OBJECTS_AT_ONCE, Place

log = logging.getLogger(__name__)


def packed(files: Iterable[Path], folder: Path) -> bytes:
    """Return a ZIP of files, by their paths in a folder; the same files give the same bytes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            # a time of its own would make other bytes
            archive.writestr(zipfile.ZipInfo(file.relative_to(folder).as_posix()), file.read_bytes())
    return data.getvalue()


def unpack(data: bytes, folder: Path) -> bool:
    """Write the files of a ZIP into a folder, in the order in which they were packed.

    Returns
    -------
    bool
        False, and nothing is written, if it is damaged or names a file outside.
    """
    try:
        files = list(_unpacked(data))
    except (zipfile.BadZipFile, ValueError, EOFError):
        return False
    for name, content in files:
        target = folder / name
        make_folder(target.parent)
        write_whole(target, content, waits=False)
    return True


def fetch_packed(place: Place, keys: Iterable[str], folder: Path) -> None:
    """Write the files of objects into a folder; one that is damaged is removed: what it held can be made again.

    Raises
    ------
    PlaceError
        If the place does not answer.
    """

    def is_whole(key: str) -> bool:
        found = place.read(key)
        return found is None or unpack(found.data, folder)

    keys = list(keys)
    with ContextPool(OBJECTS_AT_ONCE, thread_name_prefix="fetch") as pool:
        are_whole = list(pool.map(is_whole, keys))
    damaged = [key for key, whole in zip(keys, are_whole, strict=True) if not whole]
    for key in damaged:
        log.warning("%s/%s is damaged: what it held is made again", place.name, key)
    place.delete_all(damaged)


def _unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of a ZIP, whose checksums are compared.

    Raises
    ------
    BadZipFile, ValueError, EOFError
        If it is damaged.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            parts = Path(entry.filename).parts
            if Path(entry.filename).is_absolute() or ".." in parts:
                msg = f"{entry.filename} is outside"
                raise ValueError(msg)
            yield entry.filename, archive.read(entry)
