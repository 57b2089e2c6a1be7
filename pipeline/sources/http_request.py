"""A request of our own to a server, beside GDAL: for what a server says of a file, and for bytes that are checked."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request

SECONDS: Final = 10.0
"""How long a server may take to answer."""
NO_ANSWER: Final[tuple[type[Exception], ...]] = (OSError, HTTPException, ValueError)
"""What a request raises that comes to nothing; ``HTTPError`` is an ``OSError``."""


_STRONG: Final = re.compile(r'"[\x21\x23-\x5b\x5d-\x7e]+"')
"""An ETag that stands for the very bytes, of characters that GDAL's list of headers can hold."""
_DATE: Final = re.compile(r"[A-Za-z]{3}, \d\d [A-Za-z]{3} \d{4} \d\d:\d\d:\d\d GMT")


@dataclass(frozen=True, slots=True)
class Validator:
    """What tells one version of a file from another in the answers of its server (RFC 9110, section 8.8)."""

    header: Literal["ETag", "Last-Modified"]
    """In which answers have it."""
    value: str
    """Of the version."""

    @property
    def names(self) -> tuple[Literal["If-Match", "If-Range"], ...]:
        """Headers of a request for this version alone.

        A server that knows the first refuses another version, one that knows the second alone gives it whole in place
        of a range. A date has no header under which older versions are refused too.
        """
        return ("If-Match", "If-Range") if self.header == "ETag" else ("If-Range",)

    @property
    def of_no_version(self) -> str:
        """A value that no version has."""
        return (
            '"segment-tiles-asks-for-no-version"'
            if self.header == "ETag"
            else "Thu, 01 Jan 1970 00:00:00 GMT"
        )

    def conditions(self) -> dict[str, str]:
        """Return the headers of a request for this version alone."""
        return dict.fromkeys(self.names, self.value)


def validator_of(version: Mapping[str, Any]) -> Validator | None:
    """Return what a server tells a version by, if it stands for the very bytes: a strong ETag, or else a date."""
    etag, date = str(version.get("etag", "")), str(version.get("last modified", ""))
    if _STRONG.fullmatch(etag):
        return Validator("ETag", etag)
    return Validator("Last-Modified", date) if _DATE.fullmatch(date) else None


def request_of(url: str, method: str, headers: Mapping[str, str]) -> Request:
    """Return a request; user and password of the URL go into a header, as libcurl sends them."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    request = Request(urlunsplit(parts._replace(netloc=host)), method=method, headers=dict(headers))
    request.add_header("Accept-Encoding", "identity")
    if at:
        request.add_unredirected_header(
            "Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}"
        )
    return request
