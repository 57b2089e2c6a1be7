"""Settings of object stores from the environment: the same names that sources are read with by GDAL and s3fs."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from segment_tiles.pipeline.errors import MissingExtraError, PlaceError
from segment_tiles.pipeline.sources.patience import RETRY_SECONDS, SILENCE_SECONDS


def retries(patience: float) -> dict[str, Any]:
    """Return how often and how long a request is tried again.

    Parameters
    ----------
    patience
        Seconds after its begin; 0: it is not tried again.
    """
    longest = 8
    return {
        # the time is the limit: waits are drawn at random below the longest
        "max_retries": 1000 if patience else 0,
        "retry_timeout": timedelta(seconds=patience),
        "backoff": {
            "init_backoff": timedelta(seconds=RETRY_SECONDS),
            "max_backoff": timedelta(seconds=longest),
            "base": 2,
        },
    }


_ASKED_AGAIN: Final = timedelta(minutes=10)
"""Credentials that end are renewed by botocore, if it is asked."""
_YES: Final = frozenset({"YES", "TRUE", "ON", "1"})


def client_options() -> dict[str, Any]:
    """Return the settings of connections."""
    return {"connect_timeout": timedelta(seconds=SILENCE_SECONDS), "timeout": timedelta(seconds=60)}


def s3_settings(name: str, patience: float) -> dict[str, Any]:
    """Return what obstore's S3Store takes beside the bucket: credentials, region, endpoint, who pays.

    Credentials are those that botocore finds: of the environment, a profile, or the role of the machine.

    Parameters
    ----------
    name
        URL, as it may be shown.
    patience
        As of `retries`.

    Raises
    ------
    PlaceError
        If there are none.
    MissingExtraError
        If botocore is not installed.
    """
    try:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - of an extra
        from botocore.session import Session  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra(name) from error

    unsigned = is_set("AWS_NO_SIGN_REQUEST")
    try:
        session = Session()
        settings: dict[str, Any] = {"region": session.get_config_variable("region") or "us-east-1"}
        found = None if unsigned else session.get_credentials()
    except BotoCoreError as error:
        msg = f"{name}: the credentials cannot be read ({error}); check AWS_PROFILE and its file"
        raise PlaceError(msg) from error
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or _gdal_endpoint()
    client = client_options()
    if endpoint:
        settings["endpoint"] = endpoint
        client["allow_http"] = endpoint.startswith("http://")
    if os.environ.get("AWS_REQUEST_PAYER"):
        settings["request_payer"] = True
    if unsigned:
        settings["skip_signature"] = True
    else:
        settings["credential_provider"] = _credentials(found, name)
    return {**settings, "client_options": client, "retry_config": retries(patience)}


def missing_extra(name: str) -> MissingExtraError:
    """Return the error of an address whose libraries are not installed."""
    return MissingExtraError(f"{name} needs: pip install 'segment-tiles[object-store]'")


def _credentials(found: Any, name: str) -> Callable[[], dict[str, Any]]:
    if found is None:
        msg = (
            f"{name}: no credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or AWS_NO_SIGN_REQUEST=YES for a public bucket"
        )
        raise PlaceError(msg)

    def current() -> dict[str, Any]:
        frozen = found.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _ASKED_AGAIN,
        }

    return current


def _gdal_endpoint() -> str | None:
    host = os.environ.get("AWS_S3_ENDPOINT")
    if not host or "://" in host:
        return host
    return (
        f"{'http' if os.environ.get('AWS_HTTPS', '').upper() in {'NO', 'FALSE', 'OFF'} else 'https'}://{host}"
    )


def is_set(name: str) -> bool:
    """Return whether a variable of the environment says yes."""
    return os.environ.get(name, "").upper() in _YES
