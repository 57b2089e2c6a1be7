"""Names of sources: whether one is a URL, and what of it may be seen.

A URL may carry secrets: user and password, and a query such as the signature of a signed URL. The program opens it as
it is; everything that is written or said goes through `without_secrets`. The name without them is also what identifies
a source: the same file under a new signature is the same source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import parse_qs, unquote

_SCHEME: Final = r"[A-Za-z][A-Za-z0-9+.\-]+://"
"""Two letters at least: ``C://`` is a drive of Windows."""
_URL: Final = re.compile(
    rf"(?<![A-Za-z0-9+.\-])(?P<scheme>(?!vrt://){_SCHEME})(?P<user>[^\s/?#'\"]*@)?(?P<rest>[^\s?#'\"<>{{}}]*)(?P<query>[?#][^\s'\"{{}}]*)?"
)
"""Of GDAL's ``vrt://file?bands=3`` the query is no secret but a part of what is read; a URL inside it is cleaned."""
_VIRTUAL: Final = re.compile(r"(?P<start>/vsi[a-z0-9_]+)(?P<path>/[^\s?'\"{}]*)?\?(?P<query>[^\s'\"{}]*)")
"""GDAL's names of virtual file systems, ``/vsicurl?url=...`` and ``/vsiaz/container/file?...``."""
_DATABASE: Final = re.compile(r"\b(?:PG|MYSQL|MSSQL|OCI|MONGODBV3|GEORASTER|GEOR):", re.IGNORECASE)
_PASSWORD: Final = re.compile(
    r"\b(?P<key>password|passwd|pwd)\s*=\s*(?:'[^']*'|\"[^\"]*\"|[^\s,;&'\"]+)", re.IGNORECASE
)
STACK: Final = "stack:"
"""How the name of a source begins that is made of several files: JSON follows."""
_SHOWN_OF_STACK: Final = 4
"""Files of a stack that a title names."""
_END_OF_SENTENCE: Final = re.compile(r"[).,;:\]]*$")


def is_url(name: str) -> bool:
    r"""Return whether a name is a URL or one of GDAL's virtual file systems, not a plain path.

    >>> is_url("https://host/a.tif"), is_url("/vsis3/bucket/a.tif"), is_url(r"C:\maps\a.tif")
    (True, True, False)
    """
    return re.search(_SCHEME, name) is not None or name.startswith("/vsi")


def shown_name(name: str) -> str:
    """Return the name of a source without secrets: what is written, said and compared.

    >>> shown_name("https://host/a b.tif?sig=x y"), shown_name("scene 1.tif")
    ('https://host/a%20b.tif', 'scene 1.tif')
    """
    if is_stack(name):
        return ",".join(map(shown_name, _files_of_stack(name)))
    return without_secrets(re.sub(r"\s", "%20", name)) if is_url(name) else without_secrets(name)


def is_there(name: str) -> bool:
    """Return whether a name is that of a file or folder; a list of files may be longer than any such name."""
    try:
        return Path(name).exists()
    except OSError:
        return False


def is_stack(name: str) -> bool:
    """Return whether a name is that of a stack of several files."""
    return name.startswith(STACK)


def title_of(name: str) -> str:
    """Return what a source is called in a title: its file without folder, of a stack those of its first files.

    >>> title_of("/maps/a.tif"), title_of('stack:{"members":[{"files":["/s2/B04.tif"]},{"files":["/s2/B08.tif"]}]}')
    ('a.tif', 'B04.tif, B08.tif')
    """
    if not is_stack(name):
        return PurePath(shown_name(name)).name
    names = [PurePath(shown_name(file)).name for file in _files_of_stack(name)]
    more = f" and {len(names) - _SHOWN_OF_STACK} more" if len(names) > _SHOWN_OF_STACK else ""
    return ", ".join(names[:_SHOWN_OF_STACK]) + more


def _id_of_item(text: str) -> str:
    """Return the id of a STAC item in JSON."""
    return str(json.loads(text)["id"])


def _files_of_stack(name: str) -> list[str]:
    """Return each file, and the id of each item, that the name of a stack holds, once; the name if it holds none."""
    try:
        found = json.loads(name.removeprefix(STACK))
        groups = found["of"] if "of" in found else [member["files"] for member in found["members"]]
        files = [
            _id_of_item(file) if file.startswith("{") else str(file) for group in groups for file in group
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        return [without_secrets(name.removeprefix(STACK))]
    return list(dict.fromkeys(files))


def document_without_secrets(value: Any) -> Any:
    """Return JSON values with every text in them without secrets."""
    if isinstance(value, str):
        return shown_name(value)
    if isinstance(value, Mapping):
        return {key: document_without_secrets(entry) for key, entry in value.items()}
    return [document_without_secrets(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def without_secrets(text: str) -> str:
    """Return a name or a message without queries, users and passwords of the URLs in it.

    >>> without_secrets("https://me:secret@host/a.tif?sig=x cannot be read (https://host/b?token=y).")
    'https://host/a.tif cannot be read (https://host/b).'
    >>> without_secrets("/vsicurl?max_retry=2&url=https%3A%2F%2Fhost%2Fa.tif%3Fsig%3Dx")
    '/vsicurl/https://host/a.tif'
    >>> without_secrets("PG:dbname=maps user=me password='x y' table=t")
    'PG:dbname=maps user=me password=... table=t'
    """
    if "://" not in text and "/vsi" not in text and "%3A%2F%2F" not in text and not _DATABASE.search(text):
        return text
    text = _VIRTUAL.sub(_virtual, text)
    text = _URL.sub(_url, text)
    return _PASSWORD.sub(r"\g<key>=...", text) if _DATABASE.search(text) else text


def _url(match: re.Match[str]) -> str:
    return match["scheme"] + match["rest"] + _punctuation(match["query"])


def _virtual(match: re.Match[str]) -> str:
    if match["path"]:
        # a URL in the path is cleaned after this, with its query
        return (
            match[0]
            if "://" in match["path"]
            else match["start"] + match["path"] + _punctuation(match["query"])
        )
    inside = parse_qs(match["query"]).get("url", [""])[0]
    return f"{match['start']}/{unquote(inside)}"


def _punctuation(query: str | None) -> str:
    """Return what ends a sentence after a URL."""
    return str(_END_OF_SENTENCE.findall(query or "")[0])
