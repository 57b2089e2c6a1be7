"""Model packages by URL: read once into the cache folder, checked, and read again when they changed at the URL."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from segment_tiles.pipeline.durable import PARTIAL, make_folder, put_in_place, remove
from segment_tiles.pipeline.errors import ModelError, PlaceError, one_line
from segment_tiles.pipeline.installed import cache_folder
from segment_tiles.pipeline.models.packages.manifest_file import (
    MANIFEST_FILE,
    read_document,
    verify_weights,
    weights_path,
)
from segment_tiles.pipeline.models.packages.stac_item import MODEL_ASSET
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.places.disk import DiskPlace
from segment_tiles.pipeline.places.protocol import Place

_ADDRESS: Final = "address.txt"
"""File of a kept package that says where it is from."""
_PART: Final = 8 * 2**20
"""Bytes of the weights that are in memory at a time."""


def fetched_package(url: str) -> Path:
    """Return the folder of a model package that is at a URL; of one that is not on this disk a checked copy.

    The copy lies in the cache folder under a name of the URL and of ``model.json``, which holds size and checksum of
    the weights: another package at the same URL is another folder.

    Raises
    ------
    ModelError
        If there is none, it cannot be read, or its weights are not what its ``model.json`` says.
    MissingExtraError
        If the extra ``object-store`` is not installed.
    """
    try:
        place = place_at(url)
        if isinstance(place, DiskPlace):
            return place.folder
        found = place.read(MANIFEST_FILE)
        if found is None:
            msg = f"holds no {MANIFEST_FILE}; a model package is needed"
            raise ModelError(msg)
        folder = _kept_at(url, found.data)
        if not (folder / _ADDRESS).is_file():
            _keep(place, url, found.data, folder)
    except (PlaceError, ModelError) as error:
        msg = (
            f"model {one_line(error)}" if isinstance(error, PlaceError) else f"model {url}: {one_line(error)}"
        )
        raise ModelError(msg) from error
    except OSError as error:
        msg = f"model {url}: cannot be kept in {cache_folder()} ({one_line(error)}); set XDG_CACHE_HOME"
        raise ModelError(msg) from error
    return folder


def address_of(folder: Path) -> str | None:
    """Return the URL that a kept package is from; None for a folder of the user."""
    kept = folder / _ADDRESS
    return kept.read_text() if folder.parent == _kept() and kept.is_file() else None


def _kept() -> Path:
    return cache_folder() / "models"


def _kept_at(url: str, manifest: bytes) -> Path:
    name = re.sub(r"[^A-Za-z0-9]+", "-", url.rstrip("/"))[-60:].strip("-")
    content = hashlib.sha256(url.encode() + b"\n" + manifest).hexdigest()
    return _kept() / f"{name}-{content[:32]}"


def _keep(place: Place, url: str, manifest: bytes, folder: Path) -> None:
    """Copy a package beside its name, check it, and give it the name."""
    make_folder(folder.parent)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if (folder / _ADDRESS).is_file():
            return
        partial = folder.with_name(folder.name + PARTIAL)
        remove(partial)
        partial.mkdir()
        try:
            (partial / MANIFEST_FILE).write_bytes(manifest)
            document = read_document(partial)
            weights = weights_path(partial, document)
            _copy(place, weights, _size(document))
            verify_weights(weights, document)
            (partial / _ADDRESS).write_text(url)
            put_in_place(partial, folder)
        except ModelError as error:
            msg = str(error).replace(f"{partial}/", "")
            raise ModelError(msg) from error
        finally:
            remove(partial)


def _copy(place: Place, weights: Path, size: int) -> None:
    with weights.open("wb") as file:
        for start in range(0, size, _PART):
            file.write(place.read_range(weights.name, start, min(_PART, size - start)))


def _size(document: dict[str, Any]) -> int:
    size = document["assets"][MODEL_ASSET].get("file:size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        msg = f"{MANIFEST_FILE} says file:size {size!r}; a number of bytes is needed"
        raise ModelError(msg)
    return size
