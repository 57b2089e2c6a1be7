"""Credentials for Google's buckets: as google-auth finds them, asked of a server of tokens on loopback."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs

import pytest

pytest.importorskip("obstore", reason="needs the extra object-store")
pytest.importorskip("google.auth", reason="needs the extra object-store")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from obstore.store import S3Store

from segment_tiles.pipeline.errors import PlaceError
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.places.bucket import BucketPlace
from segment_tiles.pipeline.sources.buckets.google import google_settings

AT = "gs://maps/a"


@pytest.fixture(autouse=True)
def _nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "GS_", "STORAGE_", "CLOUDSDK_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


class Tokens(BaseHTTPRequestHandler):
    """Gives tokens, or refuses them."""

    refuses = False
    asked: list[dict[str, str]]

    def do_POST(self) -> None:
        """Answer as Google's server of tokens does."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        claims = form["assertion"][0].split(".")[1]
        self.asked.append(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))))
        refusal = {"error": "invalid_grant", "error_description": "the key was revoked"}
        answer = (
            refusal if self.refuses else {"access_token": "T", "expires_in": 3600, "token_type": "Bearer"}
        )
        content = json.dumps(answer).encode()
        self.send_response(400 if self.refuses else 200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None: ...


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Tokens]]:
    """A server of tokens, and the key of an account that it knows in the environment."""
    handler = type("Own", (Tokens,), {"asked": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account", "client_email": "maps@example.com", "private_key": key.decode(),
        "private_key_id": "1", "token_uri": f"http://127.0.0.1:{server.server_port}/token",
    }  # fmt: skip
    path = tmp_path / "key.json"
    path.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    yield handler
    server.shutdown()
    server.server_close()


def test_the_key_of_an_account_gives_tokens_that_may_read_and_write(tokens: type[Tokens]) -> None:
    given = google_settings(AT, 0.0)["credential_provider"]()
    assert given["token"] == "T"
    assert 3000 < (given["expires_at"] - datetime.now(UTC)).total_seconds() < 3600
    (claims,) = tokens.asked
    assert claims["iss"] == "maps@example.com"
    assert claims["scope"] == "https://www.googleapis.com/auth/devstorage.read_write"


def test_a_key_that_is_refused_is_said_at_once(tokens: type[Tokens]) -> None:
    tokens.refuses = True
    with pytest.raises(PlaceError, match=rf"^{AT}: the credentials cannot be used \(.*the key was revoked"):
        place_at(AT, 60.0).put("k", b"")
    assert tokens.asked


def test_a_server_of_tokens_that_is_away_is_waited_for(
    tokens: type[Tokens], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = json.loads((tmp_path / "key.json").read_text())
    path = tmp_path / "elsewhere.json"
    path.write_text(json.dumps(key | {"token_uri": "http://127.0.0.1:9/token"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    place = place_at(AT, 2.0)
    with pytest.raises(
        PlaceError, match=rf"^{AT}: the credentials cannot be used \(.*; correct them, or log in again"
    ):
        place.put("k", b"")
    assert place.traffic.retries > 0


def test_no_credentials_are_said_before_anything_is_asked() -> None:
    with pytest.raises(
        PlaceError, match=rf"^{AT}: no credentials \(.*; set GOOGLE_APPLICATION_CREDENTIALS, run "
    ):
        place_at(AT)


def test_a_file_that_is_no_key_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text("{}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(PlaceError, match=rf"^{AT}: no credentials \(.*"):
        place_at(AT)


def test_nothing_is_written_into_a_public_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GS_NO_SIGN_REQUEST", "YES")
    with pytest.raises(
        PlaceError, match=rf"^{AT}: the credentials cannot be used \(GS_NO_SIGN_REQUEST is set"
    ):
        place_at(AT, 60.0).put("k", b"")


@pytest.mark.parametrize("host", ["127.0.0.1:9", "http://127.0.0.1:9/"])
def test_a_server_of_ones_own_is_asked_without_a_token(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", host)
    with pytest.raises(PlaceError, match=r"PUT http://127\.0\.0\.1:9/maps/a%2Fk"):
        place_at(AT, 0.0).put("k", b"")


def test_what_anothers_credentials_say_is_passed_on_too() -> None:
    def logged_out() -> dict[str, str]:
        msg = "the token has expired, log in"
        raise ValueError(msg)

    def make(_patience: float) -> S3Store:
        client = {"allow_http": True}
        return S3Store(
            "maps", endpoint="http://127.0.0.1:9", client_options=client, credential_provider=logged_out
        )  # type: ignore[arg-type, typeddict-item]

    with pytest.raises(
        PlaceError, match=r"^s3://maps: the credentials cannot be used \(the token has expired, log in\)"
    ):
        BucketPlace(make, "s3://maps", 60.0).put("k", b"")
