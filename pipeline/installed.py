"""Which versions are installed; importlib parses a whole text for each answer, thousands of times in a batch."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


@cache
def installed_version(package: str) -> str:
    """Return the version of an installed package.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        If it is not installed.
    """
    return version(package)
