"""What an object store says of the version of a source in a bucket."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any, Final

from segment_tiles.pipeline.errors import MissingExtraError, PlaceError
from segment_tiles.pipeline.names import without_secrets
from segment_tiles.pipeline.sources.buckets.stores import STORES

_NAME: Final = re.compile(
    rf"^(?:(?P<url>{'|'.join(STORES)})://|/vsi(?P<gdal>{'|'.join(STORES)})/)(?P<bucket>[^/?#]+)/(?P<key>[^?#]+)"
)
_PATIENCE_SECONDS: Final = 3.0
"""So long a store that is busy is asked again: whoever reads the source waits longer, and says what is wrong."""


def object_version(name: str) -> dict[str, Any] | None:
    """Return ETag, generation if the store has one, and size of an object.

    None if the store says nothing, there are no credentials, or the extra ``object-store`` is not installed.
    """
    found = _NAME.match(name)
    if found is None or find_spec("obstore") is None:
        return None
    import obstore  # noqa: PLC0415 - of an extra
    from obstore.exceptions import BaseError  # noqa: PLC0415

    scheme, key = found["url"] or found["gdal"], found["key"].rstrip("/")
    try:
        store = STORES[scheme](found["bucket"], "", without_secrets(name), _PATIENCE_SECONDS)
        told = obstore.head(store, key)
    except (BaseError, OSError, PlaceError, MissingExtraError):
        return None
    said = {
        "etag": told["e_tag"],
        "generation": told["version"] if scheme == "gs" else None,
        "bytes": told["size"] or None,
    }
    return {field: value for field, value in said.items() if value is not None} or None
