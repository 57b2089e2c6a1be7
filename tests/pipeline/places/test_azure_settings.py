"""What the environment says of an account of Azure: names of GDAL, of adlfs and of obstore, and connection strings."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

pytest.importorskip("obstore", reason="needs the extra object-store")
from servers import azurite
from servers.local import Server

from segment_tiles.pipeline.errors import PlaceError
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.sources.buckets.azure import azure_settings

AT = "az://maps/a"
KEY = "a2V5"


@pytest.fixture(autouse=True)
def _nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AZURE_", "AZURITE_"))]:
        monkeypatch.delenv(name)


FOUND = {
    f"AccountName=one;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn": {
        "account_name": "one",
        "access_key": KEY,
        "endpoint": "https://one.blob.core.chinacloudapi.cn",
    },
    f" defaultendpointsprotocol=http ; AccountName = one;AccountKey={KEY}a2U=;": {
        "account_name": "one",
        "access_key": f"{KEY}a2U=",
        "endpoint": "http://one.blob.core.windows.net",
    },
    "BlobEndpoint=https://two.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=a%3D": {
        "account_name": "two",
        "sas_token": "sv=1&sig=a%3D",
        "endpoint": "https://two.blob.core.windows.net",
    },
    "BlobEndpoint=http://127.0.0.1:10000/three;SharedAccessSignature=sv=1": {
        "account_name": "three",
        "sas_token": "sv=1",
        "endpoint": "http://127.0.0.1:10000/three",
    },
    "UseDevelopmentStorage=true": {"use_emulator": True},
}


@pytest.mark.parametrize("text", FOUND)
def test_a_connection_string_says_all(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "another")
    found = azure_settings(AT, 0.0)
    client = found.pop("client_options")
    del found["retry_config"]
    assert found == FOUND[text]
    assert client.get("allow_http", False) == found.get("endpoint", "").startswith("http://")
    assert place_at(AT).name == AT


@pytest.mark.parametrize(
    ("account", "key"),
    [
        ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCESS_KEY"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"),
    ],
)
def test_names_of_gdal_and_of_adlfs(account: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(account, "one")
    monkeypatch.setenv(key, KEY)
    found = azure_settings(AT, 0.0)
    assert (found["account_name"], found["access_key"]) == ("one", KEY)


REFUSED = {
    ("AZURE_STORAGE_ACCESS_KEY", "hidden"): r"no account; set AZURE_STORAGE_CONNECTION_STRING, or",
    ("AZURE_STORAGE_CONNECTION_STRING", "hidden"): r"has no AccountName and no BlobEndpoint; copy it whole",
    (
        "AZURE_STORAGE_CONNECTION_STRING",
        "AccountName=one;AccountKey=hidden!",
    ): r"cannot be used \(.*Access Key.*\); correct them",
}


@pytest.mark.parametrize("variable", REFUSED)
def test_what_cannot_be_right_is_refused_in_a_line(
    variable: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*variable)
    with pytest.raises(PlaceError, match=f"{AT}: .*{REFUSED[variable]}") as refused:
        place_at(AT)
    assert "\n" not in str(refused.value)
    assert "hidden" not in str(refused.value)


WAYS = {
    "emulator": lambda url: {
        "AZURE_STORAGE_USE_EMULATOR": "YES", "AZURITE_BLOB_STORAGE_URL": url.rpartition("/")[0],
    },
    "key": lambda url: {
        "AZURE_STORAGE_ACCOUNT": azurite.ACCOUNT, "AZURE_STORAGE_ACCESS_KEY": azurite.KEY,
        "AZURE_STORAGE_ENDPOINT": url,
    },
    "signature": lambda url: {
        "AZURE_STORAGE_ACCOUNT": azurite.ACCOUNT, "AZURE_STORAGE_SAS_TOKEN": azurite.signature(),
        "AZURE_STORAGE_ENDPOINT": url,
    },
    "string with a signature": lambda url: {
        "AZURE_STORAGE_CONNECTION_STRING": f"BlobEndpoint={url};SharedAccessSignature={azurite.signature()}"
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(azurite.program() is None, reason=azurite.NEEDS)
@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_name_the_account_opens_it(
    way: str, settle: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = settle("azurite")
    address = server.bucket(f"by-{way.replace(' ', '-')}")
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    for name, value in WAYS[way](server.url).items():
        monkeypatch.setenv(name, value)
    place = place_at(address)
    assert place.put_if_absent("k", b"a")
    assert not place.put_if_absent("k", b"a")
    assert place.traffic.retries == 0
    found = place.read("k")
    assert found is not None
    assert place.replace("k", b"b", found.version)


@pytest.mark.slow
@pytest.mark.skipif(azurite.program() is None, reason=azurite.NEEDS)
def test_a_wrong_key_is_said_and_not_shown(
    settle: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = settle("azurite")
    address = server.bucket("wrong-key")
    wrong = "aGlkZGVu"
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"AccountName={azurite.ACCOUNT};AccountKey={wrong};BlobEndpoint={server.url}",
    )
    with pytest.raises(PlaceError, match=f"{address}: no right to k; check the credentials") as refused:
        place_at(address).put("k", b"")
    assert wrong not in str(refused.value)
