"""A bucket on loopback for commands that write into one, and what lies in it as files.

It is asked over plain HTTP: the libraries of the program start threads, after which this process could not fork whole.
"""

from __future__ import annotations

import os
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET

from servers.local import moto

from faults.command import NOT_OURS

BUCKET = "faults"
URL = f"s3://{BUCKET}/out"
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@contextmanager
def bucket(folder: Path) -> Iterator[None]:
    """Serve a bucket while commands run, whose environment says where."""
    before = dict(os.environ)
    with moto(folder) as server:
        NOT_OURS.add(server.process)
        os.environ.update(server.settings)
        try:
            server.make(BUCKET)
            yield
        finally:
            NOT_OURS.discard(server.process)
            os.environ.clear()
            os.environ.update(before)


def _ask(method: str, path: str) -> bytes:
    request = urllib.request.Request(f"{os.environ['AWS_ENDPOINT_URL']}/{path}", method=method)
    request.add_header(
        "Authorization", "AWS key:of-nobody"
    )  # the server asks for one, and does not look at it
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def keys() -> list[str]:
    """Return the keys of all objects; there are never so many that they come in pages."""
    listed = ET.fromstring(_ask("GET", f"{BUCKET}?list-type=2"))
    return [unquote(entry.text or "") for entry in listed.iter(f"{_NAMESPACE}Key")]


def empty() -> None:
    """Remove all objects."""
    for key in keys():
        _ask("DELETE", f"{BUCKET}/{quote(key)}")


def bring(folder: Path) -> None:
    """Put the objects of the result into a folder, in place of what is there, if one of them says that it is whole."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    there = keys()
    if "out/item.json" not in there and "out/.segment-tiles/complete.json" not in there:
        return
    for key in there:
        target = folder / key.removeprefix("out/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_ask("GET", f"{BUCKET}/{quote(key)}"))
