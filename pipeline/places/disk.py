"""A folder of a disk as a place: names appear by one step of the file system, after the content is on the disk."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from segment_tiles.pipeline.durable import (
    make_folder,
    partial_beside,
    sync_file,
    sync_folder,
    whole_file,
    write_whole,
)
from segment_tiles.pipeline.errors import PlaceError
from segment_tiles.pipeline.places.protocol import OWN_LOCK, Found, Traffic, Version, checked_key, is_own


class DiskPlace:
    """A folder. What replaces is done by one process at a time, under a lock that the system frees if it dies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._traffic = Traffic()

    @property
    def traffic(self) -> Traffic:
        """Steps of the file system that stand for requests."""
        return self._traffic

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    def put(self, key: str, data: bytes) -> None:
        """Write an object, in place of one that is there."""
        with self._writing(key) as path:
            write_whole(path, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object if none has its key: a link is made in one step, and never over a name."""
        with self._writing(key) as path:
            partial = partial_beside(path)
            try:
                partial.write_bytes(data)
                sync_file(partial)
                os.link(partial, path)
            except FileExistsError:
                return False
            finally:
                partial.unlink(missing_ok=True)
            sync_folder(path.parent)
        return True

    def replace(self, key: str, data: bytes, version: Version) -> bool:
        """Write an object if the one that is there has a version still."""
        with self._writing(key) as path:
            if not path.is_file() or _version(path.read_bytes()) != version:
                return False
            write_whole(path, data)
        return True

    def read(self, key: str) -> Found | None:
        """Return an object, or None if none has the key."""
        with self._told(key):
            try:
                data = (self.folder / checked_key(key)).read_bytes()
            except FileNotFoundError:
                return None
            return Found(data, _version(data))

    def version(self, key: str) -> Version | None:
        """Return the version of an object, or None if none has the key."""
        found = self.read(key)
        return None if found is None else found.version

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return bytes of an object that is there and has them all."""
        with self._told(key), (self.folder / checked_key(key)).open("rb") as file:
            file.seek(start)
            data = file.read(length)
        if len(data) < length:
            msg = f"{self.name}/{key}: ends before byte {start + length}"
            raise PlaceError(msg)
        return data

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys below a folder of keys, sorted; of all without one."""
        return list(self.sizes(prefix))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the keys as `list` does, with the bytes of each object."""
        top = self.folder / checked_key(prefix) if prefix else self.folder
        with self._told(prefix):
            files = {
                path.relative_to(self.folder): path.stat().st_size
                for path in top.rglob("*")
                if path.is_file()
            }
        keys = {file.as_posix(): size for file, size in files.items() if not any(map(is_own, file.parts))}
        return dict(sorted(keys.items()))

    def put_file(self, key: str, path: Path) -> None:
        """Write an object from a file of any size, in place of one that is there."""
        with self._writing(key) as target, whole_file(target) as partial:
            shutil.copyfile(path, partial)

    def read_file(self, key: str, path: Path) -> None:
        """Write an object that is there into a file, whose folder is there."""
        with self._told(key):
            shutil.copyfile(self.folder / checked_key(key), path)

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        if not self.folder.is_dir():
            return
        with self._writing(key) as path:
            path.unlink(missing_ok=True)
            sync_folder(path.parent)

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove objects, those that are there."""
        for key in keys:
            self.delete(key)

    @contextmanager
    def _writing(self, key: str) -> Iterator[Path]:
        path = self.folder / checked_key(key)
        with self._told(key):
            make_folder(path.parent)
            with FileLock(self.folder / OWN_LOCK):
                yield path

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        self._traffic += Traffic(1)
        try:
            yield
        except OSError as error:
            msg = f"{self.name}: {key or 'its names'} cannot be read or written ({error.strerror or error})"
            raise PlaceError(msg) from error


def _version(data: bytes) -> Version:
    return Version(hashlib.sha256(data).hexdigest())
