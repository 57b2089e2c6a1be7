"""Versions of installed packages, and the folder for what this program can make again."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def installed_version(package: str) -> str:
    """Return the version of an installed package; importlib parses a whole text for it, thousands of times in a batch.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        If it is not installed.
    """
    return version(package)


def cache_folder() -> Path:
    """Return the folder of this program in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segment-tiles"
