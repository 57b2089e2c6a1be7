"""Addresses of places: a folder, or a URL whose scheme says what kind of store it is in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from segment_tiles.pipeline.errors import PlaceError
from segment_tiles.pipeline.names import without_secrets
from segment_tiles.pipeline.places.disk import DiskPlace
from segment_tiles.pipeline.places.protocol import Place
from segment_tiles.pipeline.sources.buckets.stores import STORES, Maker

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]+)://")
"""Two letters at least: ``C://`` is a drive of Windows."""


def is_address(name: str) -> bool:
    r"""Return whether a name is a URL, not a path.

    >>> is_address("s3://bucket/nuclei"), is_address("models/nuclei"), is_address(r"C:\models")
    (True, False, False)
    """
    return _URL.match(name) is not None


def unflattened(name: str) -> str:
    """Return the URL that a path was made of, which loses one of its slashes; any other name as it is.

    >>> unflattened("s3:/bucket/nuclei"), unflattened("models/nuclei")
    ('s3://bucket/nuclei', 'models/nuclei')
    """
    scheme, _, rest = name.partition(":/")
    return f"{scheme}://{rest}" if scheme in SCHEMES and not rest.startswith("/") else name


def place_at(address: str, patience: float | None = None) -> Place:
    """Return the place of an address: a folder, or a URL of one of `SCHEMES`.

    Parameters
    ----------
    address
        Path, or URL without secrets.
    patience
        Seconds for which a store that does not answer is asked again; None: as long as a source is.

    Raises
    ------
    PlaceError
        If its scheme is not known, it names no bucket, or it has a user, a password or a query in it: secrets come
        from the environment, a profile or the role of the machine. If there are no credentials, or some that cannot
        be right.
    MissingExtraError
        If the extra ``object-store`` is not installed.
    """
    found = _URL.match(address)
    if found is None:
        return DiskPlace(Path(address))
    parts, shown = urlsplit(address), without_secrets(address)
    if parts.scheme != "file" and parts.scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in ("file", *SCHEMES))
        msg = f"{shown}: {parts.scheme}:// is not known; give a folder, or one of {known}"
        raise PlaceError(msg)
    if "@" in parts.netloc or parts.query or parts.fragment:
        msg = (
            f"{shown}: has a user, a password or a query; give the name alone, "
            "and credentials by the environment, a profile or the role of the machine"
        )
        raise PlaceError(msg)
    if parts.scheme == "file":
        return DiskPlace(_folder(unquote(parts.path), parts.netloc, shown))
    if not parts.netloc:
        msg = f"{shown}: names no bucket; give {parts.scheme}://BUCKET/PATH"
        raise PlaceError(msg)
    try:
        from segment_tiles.pipeline.places.bucket import opened  # noqa: PLC0415 - of an extra
        from segment_tiles.pipeline.sources.patience import PATIENCE_SECONDS  # noqa: PLC0415 - brings GDAL
    except ImportError as error:
        from segment_tiles.pipeline.sources.buckets.settings import missing_extra  # noqa: PLC0415 - brings GDAL

        raise missing_extra(shown) from error
    prefix = unquote(parts.path).strip("/")
    make = partial(SCHEMES[parts.scheme], parts.netloc, prefix, shown)
    return opened(make, shown.rstrip("/"), PATIENCE_SECONDS if patience is None else patience)


def _folder(path: str, host: str, shown: str) -> Path:
    if host not in {"", "localhost"} or not path:
        msg = f"{shown}: names no folder of this machine; give file:///PATH"
        raise PlaceError(msg)
    return Path(path)


def _memory(bucket: str, prefix: str, name: str, patience: float) -> ObjectStore:
    return _memory_store(bucket, prefix)


@cache
def _memory_store(bucket: str, prefix: str) -> ObjectStore:
    """One store for each address, as long as the process."""
    from obstore.store import MemoryStore  # noqa: PLC0415 - of an extra

    return MemoryStore()


SCHEMES: Final[Mapping[str, Maker]] = {**STORES, "memory": _memory}
"""Makers of stores, by the scheme of a URL; ``file`` is a folder."""
