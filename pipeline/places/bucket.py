"""A bucket of an object store as a place, through obstore: its retries, its timeouts, its conditional requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import obstore
from obstore import exceptions

from segment_tiles.pipeline.errors import PlaceError, one_line
from segment_tiles.pipeline.names import without_secrets
from segment_tiles.pipeline.places.protocol import Found, checked_key

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class BucketPlace:
    """A bucket below a prefix, or a store in the memory of this process."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name

    @property
    def name(self) -> str:
        """The URL."""
        return self._name

    def put(self, key: str, data: bytes) -> None:
        """Write an object, in place of one that is there."""
        with self._told(key):
            obstore.put(self._store, checked_key(key), data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object if none has its key."""
        with self._told(key):
            try:
                # in parts it would not be conditional
                obstore.put(self._store, checked_key(key), data, mode="create", use_multipart=False)
            except exceptions.AlreadyExistsError:
                return False
        return True

    def replace(self, key: str, data: bytes, version: str) -> bool:
        """Write an object if the one that is there has a version still."""
        with self._told(key):
            try:
                obstore.put(self._store, checked_key(key), data, mode={"e_tag": version}, use_multipart=False)
            except (exceptions.PreconditionError, FileNotFoundError):
                return False
        return True

    def read(self, key: str) -> Found | None:
        """Return an object, or None if none has the key."""
        with self._told(key):
            try:
                answer = obstore.get(self._store, checked_key(key))
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None
            return Found(bytes(answer.bytes()), str(answer.meta["e_tag"]))

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return bytes of an object that is there and has them all."""
        with self._told(key):
            data = bytes(obstore.get_range(self._store, checked_key(key), start=start, length=length))
        if len(data) < length:
            msg = f"{self.name}/{key}: ends before byte {start + length}"
            raise PlaceError(msg)
        return data

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys below a folder of keys, sorted; of all without one."""
        with self._told(prefix):
            pages = obstore.list(self._store, checked_key(prefix) if prefix else None)
            return sorted(entry["path"] for page in pages for entry in page)

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self._told(key):
            try:
                obstore.delete(self._store, checked_key(key))
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            msg = f"{self._name}: {_reason(error, key)}"
            raise PlaceError(msg) from error


def _reason(error: BaseException, key: str) -> str:
    """Say in a line what a store refused, and what to do."""
    said = str(error)
    if "NoSuchBucket" in said or "ContainerNotFound" in said:
        return "there is no such bucket; make it, or check the name and AWS_ENDPOINT_URL"
    if isinstance(error, FileNotFoundError):
        return f"{key} is not there"
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return f"no right to {key or 'list it'}; check the credentials, or what they may do"
    cause = without_secrets(one_line(error))[:200]
    return f"the store does not answer as it should, after retries ({cause}); try again when it does"
