"""What the drivers of GDAL know of creation options, asked of the library itself; a fixture for several tests."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

Refused = Callable[[str, str, str, Mapping[str, Any]], list[str]]


class Drivers:
    """The drivers of the GDAL that a package brings, asked in C what options they have."""

    def __init__(self, package: str) -> None:
        maps = Path("/proc/self/maps")
        if not maps.exists():
            pytest.skip("only Linux tells where the libraries of a process are")
        found = sorted(
            {line.split()[-1] for line in maps.read_text().splitlines() if f"{package}.libs/libgdal" in line}
        )
        if not found:
            pytest.skip(f"this {package} was not built as a wheel with a GDAL of its own")
        self._library = ctypes.CDLL(found[0])
        self._library.GDALGetDriverByName.restype = ctypes.c_void_p
        self._library.GDALGetMetadataItem.restype = ctypes.c_char_p
        self._library.GDALGetMetadataItem.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)

    def options(self, driver: str, of: str) -> dict[str, ElementTree.Element]:
        """Return the options that a driver has, by name, as it describes them."""
        handle = self._library.GDALGetDriverByName(driver.encode())
        text = self._library.GDALGetMetadataItem(handle, of.encode(), None)
        return (
            {}
            if text is None
            else {str(option.get("name")): option for option in ElementTree.fromstring(text)}
        )


def refused(asked: Mapping[str, Any], known: Mapping[str, ElementTree.Element]) -> list[str]:
    """Return what a driver does not know: it would be left out, with a warning at most."""
    wrong = []
    for name, value in asked.items():
        option = known.get(name.upper())
        if option is None:
            wrong.append(f"{name} is not known")
            continue
        values = {str(found.text).upper() for found in option.iter("Value")}
        kind = option.get("type")
        if values and str(value).upper() not in values:
            wrong.append(f"{name}={value}: {sorted(values)}")
        elif kind == "boolean" and str(value).upper() not in {"YES", "NO", "TRUE", "FALSE"}:
            wrong.append(f"{name}={value} is no boolean")
        elif kind in {"int", "unsigned int"} and not str(value).isdigit():
            wrong.append(f"{name}={value} is no number")
    return wrong


@pytest.fixture
def refused_options() -> Refused:
    """Return a function of package, driver, kind of option and options: what that driver does not know."""

    def check(package: str, driver: str, of: str, asked: Mapping[str, Any]) -> list[str]:
        return refused(asked, Drivers(package).options(driver, of))

    return check
