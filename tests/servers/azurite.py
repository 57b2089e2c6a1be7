"""Microsoft's Azurite: the protocol of Azure's containers over HTTP, with signatures that are checked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from servers.local import Server, free_port, process, wait_for

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of the account that Azurite comes with; its manual names it."""
INSTALLED = Path(__file__).parents[2] / "build" / "servers"
NEEDS = "Azurite is not installed; make test-servers does it: npm install --prefix build/servers azurite@3"


def program() -> str | None:
    """Return the path of the program, if it is installed here or for all."""
    return shutil.which("azurite-blob", path=INSTALLED / "node_modules" / ".bin") or shutil.which(
        "azurite-blob"
    )


@contextmanager
def azurite(folder: Path) -> Iterator[Server]:
    """Serve containers, with objects in a folder."""
    found = program()
    assert found is not None, NEEDS
    port, log = free_port(), folder / "azurite.log"
    command = [found, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    text = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={url};"

    def make(name: str) -> None:
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/{name}?restype=container&{signature()}", method="PUT"), timeout=10
        ):
            pass

    with process([*command, "--silent", "--disableTelemetry"], log) as started:
        wait_for(port, started, log)
        yield Server("az", url, {"AZURE_STORAGE_CONNECTION_STRING": text}, make, started.pid)


def signature() -> str:
    """Return a shared access signature of the account, as a query: all that may be done, for a long time."""
    fields = {"sp": "rwdlacx", "ss": "b", "srt": "sco", "se": "2099-01-01T00:00:00Z", "sv": "2019-12-12"}
    lines = [ACCOUNT, fields["sp"], fields["ss"], fields["srt"], "", fields["se"], "", "", fields["sv"], ""]
    signed = hmac.new(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
    return urlencode({**fields, "sig": base64.b64encode(signed).decode()})
