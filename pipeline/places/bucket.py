"""A bucket of an object store as a place, through obstore: timeouts, conditional requests, uploads in parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import obstore
from obstore import exceptions

from segment_tiles.pipeline.errors import PlaceError
from segment_tiles.pipeline.places.attempts import Attempts, may_pass, plain
from segment_tiles.pipeline.places.protocol import PART_BYTES, Found, Traffic, Version, checked_key

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta, PutMode
    from obstore.store import ObjectStore

_STEP: Final = 2**20
"""Bytes that are written into a file at a time."""
_AROUND_PARTS: Final = 2
"""Requests before and after the parts."""
_AT_ONCE: Final = 1000
"""Objects that S3 removes by one request."""


_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound")
"""What S3 and Google, and Azure, call a bucket that is not there."""
_NO_CREDENTIALS: Final = re.compile(r"credential provider: \w+: ([^\n]+)")
"""How obstore tells of what botocore or google-auth raised."""


def opened(make: Callable[[float], ObjectStore], name: str, patience: float) -> BucketPlace:
    """Return the place of a store; parameters are those of `BucketPlace`.

    Raises
    ------
    PlaceError
        If its settings cannot be right, such as a key that is none.
    """
    try:
        return BucketPlace(make, name, patience)
    except exceptions.BaseError as error:
        msg = f"{name}: the credentials or settings in the environment cannot be used ({plain(error)}); correct them"
        raise PlaceError(msg) from error


class BucketPlace:
    """A bucket below a prefix, or a store in the memory of this process.

    Parameters
    ----------
    make
        Makes the store: with seconds for which obstore asks again by itself.
    name
        URL, as it may be shown.
    patience
        Seconds for which a request is tried again.
    """

    def __init__(self, make: Callable[[float], ObjectStore], name: str, patience: float) -> None:
        self._store = make(0.0)
        self._make, self._name, self._patience = make, name, patience
        self._attempts = Attempts(patience)
        self._compares_quotes = False

    @property
    def traffic(self) -> Traffic:
        """What was asked of it."""
        return self._attempts.traffic

    @property
    def name(self) -> str:
        """The URL."""
        return self._name

    def put(self, key: str, data: bytes) -> None:
        """Write an object, in place of one that is there."""
        with self._told(key):
            name = checked_key(key)
            self._attempts.do(
                lambda: obstore.put(self._store, name, data, use_multipart=False), sent=len(data)
            )

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object if none has its key."""
        with self._told(key):
            return self._put_on_condition(key, data, "create")

    def replace(self, key: str, data: bytes, version: Version) -> bool:
        """Write an object if the one that is there has a version still."""
        with self._told(key):
            if not self._compares_quotes and self._put_on_condition(key, data, _condition(version)):
                return True
            # Ceph's radosgw compares the quotes of the header too, so that a version that is right would never do
            self._compares_quotes = self._compares_quotes or self.version(key) == version
            unquoted = Version(version.tag.strip('"'), version.generation)
            return self._compares_quotes and self._put_on_condition(key, data, _condition(unquoted))

    def _put_on_condition(self, key: str, data: bytes, mode: PutMode) -> bool:
        name = checked_key(key)
        try:
            # in parts it would not be conditional
            self._attempts.do(
                lambda: obstore.put(self._store, name, data, mode=mode, use_multipart=False), sent=len(data)
            )
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            return False
        except FileNotFoundError as error:
            _require_bucket(error)
            if mode == "create":
                raise
            return False
        return True

    def read(self, key: str) -> Found | None:
        """Return an object, or None if none has the key."""
        with self._told(key):
            name = checked_key(key)

            def whole() -> Found:
                answer = obstore.get(self._store, name)
                return Found(bytes(answer.bytes()), _version(answer.meta))

            try:
                found = self._attempts.do(whole)
            except FileNotFoundError as error:
                _require_bucket(error)
                return None
            self._attempts.count(received=len(found.data))
            return found

    def version(self, key: str) -> Version | None:
        """Return the version of an object, or None if none has the key."""
        with self._told(key):
            name = checked_key(key)
            try:
                return _version(self._attempts.do(lambda: obstore.head(self._store, name)))
            except FileNotFoundError as error:
                _require_bucket(error)
                return None

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return bytes of an object that is there and has them all."""
        with self._told(key):
            name = checked_key(key)
            data = self._attempts.do(
                lambda: bytes(obstore.get_range(self._store, name, start=start, length=length))
            )
            self._attempts.count(received=len(data))
        if len(data) < length:
            msg = f"{self.name}/{key}: ends before byte {start + length}"
            raise PlaceError(msg)
        return data

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys below a folder of keys, sorted; of all without one."""
        return list(self.sizes(prefix))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the keys as `list` does, with the bytes of each object."""
        with self._told(prefix):
            folder = checked_key(prefix) if prefix else None

            def every_page() -> dict[str, int]:
                found: dict[str, int] = {}
                for number, page in enumerate(obstore.list(self._store, folder, chunk_size=_AT_ONCE)):
                    self._attempts.count(int(number > 0))
                    found |= {entry["path"]: entry["size"] for entry in page}
                return found

            return dict(sorted(self._attempts.do(every_page).items()))

    def put_file(self, key: str, path: Path) -> None:
        """Write an object from a file of any size, in place of one that is there; large ones in parts."""
        with self._told(key):
            name, size = checked_key(key), path.stat().st_size
            parts = -(-size // PART_BYTES)
            if parts < 2:
                self.put(key, path.read_bytes())
                return
            store = self._make(self._patience)  # which sends a part that failed again, not the whole file
            self._attempts.do(
                lambda: obstore.put(store, name, path, chunk_size=PART_BYTES),
                requests=parts + _AROUND_PARTS,
                sent=size,
            )

    def read_file(self, key: str, path: Path) -> None:
        """Write an object that is there into a file, whose folder is there; one that breaks off goes on from there."""
        with self._told(key), path.open("wb") as file:
            name = checked_key(key)
            first: list[ObjectMeta] = []

            def rest() -> bool:
                """Write what is missing; False if it broke off after some of it."""
                start = file.tell()
                if first and start == first[0]["size"]:
                    return True
                options: GetOptions | None = (
                    {"range": {"offset": start}, "if_match": first[0]["e_tag"]} if first else None
                )
                try:
                    answer = obstore.get(self._store, name, options=options)
                    first.append(answer.meta)
                    for part in answer.stream(min_chunk_size=_STEP):
                        file.write(part)
                except (exceptions.BaseError, OSError) as error:
                    if file.tell() == start or not may_pass(error):
                        raise
                    return False
                return True

            while not self._attempts.do(rest):
                self._attempts.count(retries=1)
            self._attempts.count(received=file.tell())

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self._told(key):
            name = checked_key(key)
            self._removed(lambda: obstore.delete(self._store, name))

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove objects, those that are there: a thousand by one request, where the store can."""
        names = [checked_key(key) for key in keys]
        for first in range(0, len(names), _AT_ONCE):
            some = names[first : first + _AT_ONCE]
            with self._told(some[0]):
                self._removed(partial(obstore.delete, self._store, some))

    def _removed(self, request: Callable[[], None]) -> None:
        try:
            self._attempts.do(request)
        except FileNotFoundError as error:
            _require_bucket(error)

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            msg = f"{self._name}: {_reason(error, key)}"
            raise PlaceError(msg) from error


def _version(meta: ObjectMeta) -> Version:
    return Version(str(meta["e_tag"]), meta["version"])


def _condition(version: Version) -> PutMode:
    if version.generation is None:
        return {"e_tag": version.tag}
    return {"e_tag": version.tag, "version": version.generation}


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
    refused = _NO_CREDENTIALS.search(said)
    if refused is not None:
        return f"the credentials cannot be used ({refused[1]}); correct them, or log in again"
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return f"no right to {key or 'list it'}; check the credentials, or what they may do"
    return f"the store does not answer as it should, after retries ({plain(error)}); try again when it does"
