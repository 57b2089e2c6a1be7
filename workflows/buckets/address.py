"""Which ``--out`` names a bucket, and how what is said of its scratch folder is said of its URL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from segment_tiles.pipeline.errors import PlanError, SegmentTilesError, UsageError
from segment_tiles.pipeline.names import without_secrets
from segment_tiles.pipeline.places.address import SCHEMES

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")
"""First part of a path that was a URL; a drive of Windows has one letter."""
_OF_URLS: Final = re.compile(r"[%?#]")
"""What means something else in a URL than in a name of a file."""


def address_of(path: Path | str, option: str = "--out") -> str | None:
    """Return the URL that a path was given as, or None if it is a path.

    Parameters
    ----------
    path
        As the user gave it.
    option
        What for.

    >>> address_of(Path("s3://bucket/scene")), address_of(Path("results/scene"))
    ('s3://bucket/scene', None)

    Raises
    ------
    UsageError
        If its scheme is not known.
    """
    parts = Path(path).parts
    if not parts or _SCHEME.fullmatch(parts[0]) is None:
        return None
    # a path has lost one of the two slashes
    address, scheme = f"{parts[0]}//{'/'.join(parts[1:])}", parts[0][:-1]
    if scheme not in SCHEMES and scheme != "file":
        known = ", ".join(f"{name}://" for name in ("file", *SCHEMES))
        msg = (
            f"{option} {address}: results cannot be written to {scheme}://; give a folder, or one of {known}"
        )
        raise UsageError(msg)
    return address


def shown_out(path: Path) -> str:
    """Return a path, or the URL that it was given as."""
    return address_of(path) or str(path)


def escaped(name: str) -> str:
    """Return a name as a part of a URL.

    >>> escaped("plot #3 100%")
    'plot %233 100%25'
    """
    return _OF_URLS.sub(lambda found: quote(found[0]), name)


def same_place(path: Path) -> Path:
    """Return what is equal for two paths, or two URLs, of one place.

    >>> same_place(Path("s3://bucket/a%20b/")) == same_place(Path("s3://bucket/a b"))
    True
    """
    return path if address_of(path) is None else Path(unquote(str(path)))


def refuse_secrets(address: str, option: str) -> None:
    """Refuse a URL with secrets in it: it would be shown and kept.

    Raises
    ------
    UsageError
        Without them.
    """
    shown = without_secrets(address)
    if shown != address:
        msg = (
            f"{option} {shown}: has a user, a password or a query; give the name alone, and credentials by the "
            "environment, a profile or the role of the machine"
        )
        raise UsageError(msg)


def on_this_disk(path: Path) -> Path:
    """Return the folder of a ``file://`` URL, and any other path as it is.

    >>> on_this_disk(Path("file:///maps/a%20b")).as_posix()
    '/maps/a b'
    """
    address = address_of(path)
    if address is None or not address.startswith("file:"):
        return path
    # the empty host has gone with the slashes
    return Path("/", unquote(urlsplit(address).netloc + urlsplit(address).path))


@contextmanager
def said_of(address: str, folder: Path) -> Iterator[None]:
    """Say what goes wrong in the scratch folder of a result of its URL, which is what the user knows.

    Raises
    ------
    SegmentTilesError
        Of the same class, in other words.
    """
    try:
        yield
    except SegmentTilesError as error:
        where = (
            f"{address} (made in {folder.parent}; TMPDIR moves it)"
            if isinstance(error, PlanError)
            else address
        )
        error.args = tuple(a.replace(str(folder), where) if isinstance(a, str) else a for a in error.args)
        raise
