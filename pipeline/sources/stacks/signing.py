"""URLs signed by a callable of the user, and signed anew when a signature has run out.

The name of a source, and all that is kept of it, has the URL without a signature: who opens it asks here.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from segment_tiles.pipeline.errors import SourceError, UsageError, one_line
from segment_tiles.pipeline.names import is_url, shown_name
from segment_tiles.pipeline.sources.stacks.description import stack_named

_signed: Final[dict[tuple[str, str], str]] = {}
"""Callable and URL -> the URL as it was signed last."""
_lock: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Signed:
    """A URL, and who signs it; plain data."""

    href: str
    """Without a signature."""
    sign: str
    """Callable, as ``module.name``."""

    def now(self) -> str:
        """Return the URL as it was signed last, or for the first time.

        Raises
        ------
        SourceError
            If the callable raises, or returns no text.
        """
        with _lock:
            known = _signed.get((self.sign, self.href))
        return known or self.anew()

    def anew(self) -> str:
        """Return the URL signed again: the last signature may have run out."""
        try:
            found = callable_named(self.sign)(self.href)
        except UsageError:
            raise
        except Exception as error:  # of the user's callable nothing is known
            said = f"{type(error).__name__}: {one_line(error)}"
            msg = f"{shown_name(self.href)}: cannot be signed: {self.sign} raised {said}"
            raise SourceError(msg) from error
        if not isinstance(found, str):
            msg = f"{shown_name(self.href)}: cannot be signed: {self.sign} returned {type(found).__name__}, not a URL"
            raise SourceError(msg)
        with _lock:
            _signed[self.sign, self.href] = found
        return found


class Address:
    """The address of one open file; signed again only if nobody else has done so since it was opened.

    Parameters
    ----------
    signed
        What is opened.
    """

    def __init__(self, signed: Signed) -> None:
        self._signed = signed
        self._last = ""

    def __call__(self, is_anew: bool) -> str:
        """Return the URL; told True, another than before, whose signature may have run out."""
        found = self._signed.now()
        if is_anew and found == self._last:
            found = self._signed.anew()
        self._last = found
        return found


def address_of(stack: str, file: str) -> str:
    """Return the name under which a file of a stack is opened now."""
    sign = stack_named(stack).sign
    return Signed(file, sign).now() if is_signed(file, sign) else file


def is_signed(file: str, sign: str) -> bool:
    """Return whether a file of a stack is a URL that is signed; a path, and a name of GDAL's own, is not."""
    return bool(sign) and is_url(file) and not file.startswith("/vsi")


def signed_anew(stack: str, file: str) -> str:
    """Return the name under which a file of a stack is opened from now on."""
    return Signed(file, stack_named(stack).sign).anew()


def callable_named(name: str) -> Callable[[str], object]:
    """Return what is called ``module.name``.

    Raises
    ------
    UsageError
        If it cannot be imported, or cannot be called.
    """
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"--sign is {name!r}, which cannot be imported ({one_line(error)}); give module.name of a callable"
        raise UsageError(msg) from error
    if not callable(found):
        msg = f"--sign is {name!r}, which is a {type(found).__name__}; give a callable that takes a URL and returns one"
        raise UsageError(msg)
    result: Callable[[str], object] = found
    return result
