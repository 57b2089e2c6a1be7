"""What the laws of runs on rasters, slides and volumes share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bytes_of() -> Callable[..., dict[str, str]]:
    """Returns the checksum of every file of a Zarr store, or of these of its arrays."""

    def checksums(store: Path, *names: str) -> dict[str, str]:
        folders = [store / name for name in names] or [store]
        files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        assert files
        return {str(path.relative_to(store)): sha256(path.read_bytes()).hexdigest() for path in files}

    return checksums


@pytest.fixture(scope="session")
def command() -> Callable[..., list[str]]:
    """Returns the words that start the installed program."""

    def words(*arguments: str | Path) -> list[str]:
        return [str(Path(sys.executable).with_name("segment-tiles")), *map(str, arguments)]

    return words
