"""Items that a STAC API finds: a search by POST, page by page, through pystac-client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from segment_tiles.pipeline.errors import MissingExtraError, UsageError, one_line
from segment_tiles.pipeline.names import shown_name

if TYPE_CHECKING:
    import pystac

SECONDS: Final = 60
"""How long a server may take to answer."""


def found_items(url: str, search: Mapping[str, Any]) -> list[pystac.Item]:
    """Return the items of a search, in the order of the API.

    Parameters
    ----------
    url
        Of the API: its landing page.
    search
        Arguments of ``pystac_client.Client.search``.

    Raises
    ------
    MissingExtraError
        If pystac-client is not installed.
    UsageError
        If the API does not answer, has no search, refuses this one, or finds nothing.
    """
    try:
        from pystac_client import Client  # noqa: PLC0415 - an extra
        from pystac_client.exceptions import APIError  # noqa: PLC0415 - likewise
        from requests import RequestException  # noqa: PLC0415 - pystac-client brings it
    except ImportError as error:
        msg = "a search needs pystac-client: pip install 'segment-tiles[stac]'"
        raise MissingExtraError(msg) from error
    import pystac  # noqa: PLC0415 - heavy

    try:
        items = list(Client.open(url, timeout=SECONDS).search(**search).items())
    except (
        APIError, RequestException, pystac.STACError, NotImplementedError, OSError, KeyError, TypeError, ValueError,
    ) as error:  # fmt: skip
        msg = f"{shown_name(url)}: cannot be searched ({one_line(error)})"
        raise UsageError(msg) from error
    if not items:
        asked = ", ".join(f"{name} {value}" for name, value in search.items()) or "everything"
        msg = f"{shown_name(url)}: the search finds no item ({asked})"
        raise UsageError(msg)
    return items
