"""A request of our own to a server, beside GDAL: for what a server says of a file, and for bytes that are checked."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from http.client import HTTPException
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request

SECONDS: Final = 10.0
"""How long a server may take to answer."""
NO_ANSWER: Final[tuple[type[Exception], ...]] = (OSError, HTTPException, ValueError)
"""What a request raises that comes to nothing; ``HTTPError`` is an ``OSError``."""


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
