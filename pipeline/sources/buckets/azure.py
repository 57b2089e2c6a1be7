"""Settings of Azure's containers from the environment: the names that GDAL, adlfs and obstore know."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from segment_tiles.pipeline.errors import PlaceError
from segment_tiles.pipeline.sources.buckets.settings import client_options, is_set, retries

CONNECTION_STRING: Final = "AZURE_STORAGE_CONNECTION_STRING"
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "account_name": ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"),
    "access_key": ("AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY"),
    "sas_token": ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"),
    "token": ("AZURE_STORAGE_ACCESS_TOKEN", "AZURE_STORAGE_TOKEN"),
    "endpoint": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""obstore's settings, and the variables of the environment that hold them; of several the first."""


def azure_settings(name: str, patience: float) -> dict[str, Any]:
    """Return what obstore's AzureStore takes beside the container; what is not here it finds in the environment itself.

    A connection string says all: account, key or signature, and endpoint.

    Parameters
    ----------
    name
        URL, as it may be shown.
    patience
        As of `settings.retries`.

    Raises
    ------
    PlaceError
        If there is no account, or the connection string names none.
    """
    text = os.environ.get(CONNECTION_STRING)
    found: dict[str, Any] = _of_environment() if text is None else _of_connection_string(text, name)
    client = client_options()
    if str(found.get("endpoint", "")).startswith("http://"):
        client["allow_http"] = True
    if is_set("AZURE_NO_SIGN_REQUEST"):
        found["skip_signature"] = True
    if not found.get("account_name") and not found.get("use_emulator"):
        msg = (
            f"{name}: no account; set {CONNECTION_STRING}, or AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_ACCESS_KEY or "
            "AZURE_STORAGE_SAS_TOKEN, or with AZURE_NO_SIGN_REQUEST=YES for a public container"
        )
        raise PlaceError(msg)
    return {**found, "client_options": client, "retry_config": retries(patience)}


def _of_environment() -> dict[str, Any]:
    found: dict[str, Any] = {"use_emulator": True} if is_set("AZURE_STORAGE_USE_EMULATOR") else {}
    for setting, names in _NAMES.items():
        values = [os.environ[name] for name in names if os.environ.get(name)]
        if values:
            found[setting] = values[0]
    return found


def _of_connection_string(text: str, name: str) -> dict[str, Any]:
    """Return the settings of ``Key=Value;Key=Value``, as Azure's portal shows it; its values are never said."""
    pairs = (entry.partition("=") for entry in text.split(";") if entry.strip())
    parts = {key.strip().lower(): value.strip() for key, _, value in pairs}
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        return {"use_emulator": True}
    account, endpoint = parts.get("accountname"), parts.get("blobendpoint")
    if endpoint is not None and account is None:
        account = _account_of(endpoint)
    if not account:
        msg = f"{name}: {CONNECTION_STRING} has no AccountName and no BlobEndpoint; copy it whole from Azure's portal"
        raise PlaceError(msg)
    if endpoint is None:
        scheme, suffix = (
            parts.get("defaultendpointsprotocol", "https"),
            parts.get("endpointsuffix", "core.windows.net"),
        )
        endpoint = f"{scheme}://{account}.blob.{suffix}"
    found = {
        "account_name": account,
        "endpoint": endpoint.rstrip("/"),
        "access_key": parts.get("accountkey"),
        "sas_token": parts.get("sharedaccesssignature"),
    }
    return {setting: value for setting, value in found.items() if value}


def _account_of(endpoint: str) -> str:
    """Return the account of ``https://ACCOUNT.blob...`` or, on a server of one's own, of ``http://HOST:PORT/ACCOUNT``."""
    parts = urlsplit(endpoint)
    return parts.path.strip("/") or (parts.hostname or "").partition(".")[0]
