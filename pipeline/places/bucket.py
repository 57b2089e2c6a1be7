"""A bucket of an object store as a place, through obstore: its retries, its timeouts, its conditional requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import obstore
from obstore import exceptions

from segment_tiles.pipeline.errors import PlaceError, one_line
from segment_tiles.pipeline.names import without_secrets
from segment_tiles.pipeline.places.protocol import Found, Traffic, checked_key

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_PART: Final = 8 * 2**20
"""Bytes of a part of a large object."""
_AT_ONCE: Final = 1000
"""Objects that S3 removes by one request."""


_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound")
"""What S3 and Google, and Azure, call a bucket that is not there."""


def opened(make: Callable[[], ObjectStore], name: str) -> BucketPlace:
    """Return the place of a store.

    Parameters
    ----------
    make
        Makes the store.
    name
        URL, as it may be shown.

    Raises
    ------
    PlaceError
        If its settings cannot be right, such as a key that is none.
    """
    try:
        return BucketPlace(make(), name)
    except exceptions.BaseError as error:
        cause = without_secrets(one_line(error)).partition(" Debug source")[0]
        msg = f"{name}: the credentials or settings in the environment cannot be used ({cause}); correct them"
        raise PlaceError(msg) from error


class BucketPlace:
    """A bucket below a prefix, or a store in the memory of this process."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name
        self._traffic = Traffic()
        self._compares_quotes = False

    @property
    def traffic(self) -> Traffic:
        """What was asked of it."""
        return self._traffic

    @property
    def name(self) -> str:
        """The URL."""
        return self._name

    def put(self, key: str, data: bytes) -> None:
        """Write an object, in place of one that is there."""
        with self._told(key):
            self._traffic.add(sent=len(data))
            obstore.put(self._store, checked_key(key), data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object if none has its key."""
        with self._told(key):
            self._traffic.add(sent=len(data))
            try:
                # in parts it would not be conditional
                obstore.put(self._store, checked_key(key), data, mode="create", use_multipart=False)
            except exceptions.AlreadyExistsError:
                return False
        return True

    def replace(self, key: str, data: bytes, version: str) -> bool:
        """Write an object if the one that is there has a version still."""
        with self._told(key):
            if not self._compares_quotes and self._put_over(key, data, version):
                return True
            # Ceph's radosgw compares the quotes of the header too, so that a version that is right would never do
            self._compares_quotes = self._compares_quotes or self._version(key) == version
            return self._compares_quotes and self._put_over(key, data, version.strip('"'))

    def _put_over(self, key: str, data: bytes, e_tag: str) -> bool:
        self._traffic.add(sent=len(data))
        try:
            obstore.put(self._store, checked_key(key), data, mode={"e_tag": e_tag}, use_multipart=False)
        except exceptions.PreconditionError:
            return False
        except FileNotFoundError as error:
            _require_bucket(error)
            return False
        return True

    def _version(self, key: str) -> str | None:
        self._traffic.add()
        try:
            return obstore.head(self._store, key)["e_tag"]
        except FileNotFoundError:
            return None

    def read(self, key: str) -> Found | None:
        """Return an object, or None if none has the key."""
        with self._told(key):
            try:
                answer = obstore.get(self._store, checked_key(key))
            except FileNotFoundError as error:
                _require_bucket(error)
                self._traffic.add()
                return None
            self._traffic.add(received=answer.meta["size"])
            return Found(bytes(answer.bytes()), str(answer.meta["e_tag"]))

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return bytes of an object that is there and has them all."""
        with self._told(key):
            self._traffic.add(received=length)
            data = bytes(obstore.get_range(self._store, checked_key(key), start=start, length=length))
        if len(data) < length:
            msg = f"{self.name}/{key}: ends before byte {start + length}"
            raise PlaceError(msg)
        return data

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys below a folder of keys, sorted; of all without one."""
        return list(self.sizes(prefix))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the keys as `list` does, with the bytes of each object."""
        found: dict[str, int] = {}
        with self._told(prefix):
            for page in obstore.list(
                self._store, checked_key(prefix) if prefix else None, chunk_size=_AT_ONCE
            ):
                self._traffic.add()
                found |= {entry["path"]: entry["size"] for entry in page}
        return dict(sorted(found.items()))

    def put_file(self, key: str, path: Path) -> None:
        """Write an object from a file of any size, in place of one that is there; large ones in parts."""
        with self._told(key):
            size = path.stat().st_size
            for part in range(max(1, -(-size // _PART))):
                self._traffic.add(sent=min(_PART, size - part * _PART))
            obstore.put(self._store, checked_key(key), path, chunk_size=_PART)

    def read_file(self, key: str, path: Path) -> None:
        """Write an object that is there into a file, whose folder is there."""
        with self._told(key):
            answer = obstore.get(self._store, checked_key(key))
            self._traffic.add(received=answer.meta["size"])
            with path.open("wb") as file:
                for part in answer.stream(min_chunk_size=_PART):
                    file.write(part)

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self._told(key):
            self._traffic.add()
            try:
                obstore.delete(self._store, checked_key(key))
            except FileNotFoundError as error:
                _require_bucket(error)

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove objects, those that are there: a thousand by one request, where the store can."""
        names = [checked_key(key) for key in keys]
        for first in range(0, len(names), _AT_ONCE):
            with self._told(names[first]):
                self._traffic.add()
                try:
                    obstore.delete(self._store, names[first : first + _AT_ONCE])
                except FileNotFoundError as error:
                    _require_bucket(error)

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            msg = f"{self._name}: {_reason(error, key)}"
            raise PlaceError(msg) from error


def _require_bucket(error: FileNotFoundError) -> None:
    """Raise an error again that says that the bucket is not there, not only the object."""
    if _is_no_bucket(str(error)):
        raise error


def _is_no_bucket(said: str) -> bool:
    return any(code in said for code in _NO_BUCKET)


def _reason(error: BaseException, key: str) -> str:
    """Say in a line what a store refused, and what to do."""
    said = str(error)
    if _is_no_bucket(said):
        return "there is no such bucket; make it, or check the name and the endpoint in the environment"
    if isinstance(error, FileNotFoundError):
        return f"{key} is not there"
    if "RequestTimeTooSkewed" in said:
        return "the clock of this machine is wrong, so that the store takes no request; set it"
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return f"no right to {key or 'list it'}; check the credentials, or what they may do"
    cause = without_secrets(one_line(error))[:200]
    return f"the store does not answer as it should, after retries ({cause}); try again when it does"
