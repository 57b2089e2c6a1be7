"""Settings of Google's buckets from the environment: credentials as Google's own library finds them."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, timedelta
from threading import Lock
from typing import Any, Final

from cachetools import TTLCache, cached

from segment_tiles.pipeline.errors import PlaceError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.sources.buckets.settings import client_options, is_set, missing_extra, retries

EMULATOR: Final = "STORAGE_EMULATOR_HOST"
"""Variable by which Google's libraries find a server of the user's own, which asks for no credentials."""
_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_write"
_TELL: Final = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CLOUDSDK_CONFIG",
    "HOME",
    "NO_GCE_CHECK",
    "GCE_METADATA_HOST",
)
"""Variables by which google-auth finds them."""
_KEPT_SECONDS: Final = 60.0
_RENEWED: Final = timedelta(minutes=5)
"""So long before its end a token is no longer used."""


def google_settings(name: str, patience: float) -> dict[str, Any]:
    """Return what obstore's GCSStore takes beside the bucket: credentials and endpoint.

    Credentials are those that google-auth finds: of the environment, of ``gcloud``, or the role of the machine.

    Parameters
    ----------
    name
        URL, as it may be shown.
    patience
        As of `settings.retries`.

    Raises
    ------
    PlaceError
        If there are none, or they cannot be used.
    MissingExtraError
        If google-auth is not installed.
    """
    client = client_options()
    host = os.environ.get(EMULATOR)
    if host:
        url = host if "://" in host else f"http://{host}"
        client["allow_http"] = url.startswith("http://")
        settings: dict[str, Any] = {"service_account_key": _of_nobody(url.rstrip("/"))}
    elif is_set("GS_NO_SIGN_REQUEST"):
        settings = {"skip_signature": True, "credential_provider": _refuse}
    else:
        settings = {"credential_provider": _credentials(name)}
    return {**settings, "client_options": client, "retry_config": retries(patience)}


def _of_nobody(url: str) -> str:
    """Return a key that makes obstore ask a server without a token."""
    empty = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    return json_text({"gcs_base_url": url, "disable_oauth": True, **empty}, indent=None)


def _refuse() -> dict[str, Any]:
    """Is what obstore asks before it writes, whatever it was told of signatures."""
    msg = "GS_NO_SIGN_REQUEST is set, and nothing is written without credentials"
    raise PlaceError(msg)


def _credentials(name: str) -> Callable[[], dict[str, Any]]:
    try:
        from google.auth.transport.requests import Request  # noqa: PLC0415 - of an extra
    except ImportError as error:
        raise missing_extra(name) from error
    found = _default(tuple(os.environ.get(variable) for variable in _TELL))
    if isinstance(found, Exception):
        said = str(found.args[0]).strip().partition("\n")[0].rstrip(".")
        msg = (
            f"{name}: no credentials ({said}); set GOOGLE_APPLICATION_CREDENTIALS, run "
            "gcloud auth application-default login, or set GS_NO_SIGN_REQUEST=YES for a public bucket"
        )
        raise PlaceError(msg) from found

    def current() -> dict[str, Any]:
        found.refresh(Request())
        end = found.expiry
        return {
            "token": found.token,
            "expires_at": None if end is None else end.replace(tzinfo=UTC) - _RENEWED,
        }

    return current


@cached(TTLCache(maxsize=8, ttl=_KEPT_SECONDS), lock=Lock())
def _default(_told: tuple[str | None, ...]) -> Any:
    """Return the credentials, or the error of there being none: that takes seconds to find, and is asked often.

    Not for ever: a schedule runs for weeks, and somebody may log in meanwhile.
    """
    import google.auth  # noqa: PLC0415 - of an extra
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415

    try:
        return google.auth.default(scopes=[_SCOPE])[0]
    except DefaultCredentialsError as error:
        return error
