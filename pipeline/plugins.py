"""What can be added to this program without touching it: kinds, formats, backends, checkpoint readers.

Each is an entry point of an installed distribution, ours as well as those of third parties::

    [project.entry-points."segment_tiles.formats"]
    shapefile = "my_package.shapefile:FORMAT"

Names are known without loading anything; an entry is loaded when it is used. One that cannot be loaded, is no such
thing, or has a name that is taken, is told once per process by a `PluginWarning`, and left out.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any, Final, Generic, TypeVar

from segment_tiles.pipeline.errors import SegmentTilesError, one_line

OWN: Final = "segment-tiles"
"""Our own distribution."""
_told: set[str] = set()
_turn = threading.Lock()

T = TypeVar("T")


class PluginWarning(UserWarning):
    """An entry point of another distribution was left out."""


class InstallationError(SegmentTilesError):
    """What is installed is not this program as it stands here."""

    exit_status = 2


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The entries of one group, by name.

    Parameters
    ----------
    group
        Of entry points, such as ``segment_tiles.formats``.
    what
        What an entry is, for messages: ``format``.
    wanted
        Class of every entry, or a protocol that can be checked at run time.
    own
        Distribution whose entries come first and keep their names.
    alone
        What no two entries may have in common beside the name, such as the file that they write.
    """

    group: str
    what: str
    wanted: type[T]
    own: str = OWN
    alone: Callable[[T], object] | None = None

    def names(self) -> tuple[str, ...]:
        """Return all names, ours first; nothing is loaded."""
        return tuple(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def get(self, name: str) -> T | None:
        """Return an entry, or None if there is none of this name, or it is left out."""
        if name not in self._loaded:
            entry = self._entries.get(name)
            self._loaded[name] = None if entry is None else self._load(entry)
        return self._loaded[name]

    def __getitem__(self, name: str) -> T:
        """Return an entry; KeyError if there is none of this name, or it is left out."""
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def all(self) -> Iterator[T]:
        """Load every entry; what cannot be loaded is left out."""
        return (loaded for name in self._entries if (loaded := self.get(name)) is not None)

    @cached_property
    def _loaded(self) -> dict[str, T | None]:
        return {}

    @cached_property
    def _entries(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for entry in sorted(_installed(tuple(sys.path)).select(group=self.group), key=self._order):
            holder = found.setdefault(entry.name, entry)
            if holder is not entry and _origin(holder) != _origin(entry):
                self._leave_out(entry, f"{_distribution(holder)} has a {self.what} of this name")
        if not any(_distribution(entry) == self.own for entry in found.values()):
            msg = (
                f"the installed {self.own} registers nothing as {self.group}, so it is older than the files that run; "
                "install it again (of a checkout: uv pip install --no-deps -e .)"
            )
            raise InstallationError(msg)
        return found

    def _order(self, entry: EntryPoint) -> tuple[bool, str, str]:
        """Ours first; then the same order on every machine, whatever was installed first."""
        return _distribution(entry) != self.own, _distribution(entry), entry.name

    def _load(self, entry: EntryPoint) -> T | None:
        try:
            loaded = entry.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - code of others, which may raise anything
            self._leave_out(entry, f"it cannot be loaded ({type(error).__name__}: {one_line(error)})")
            return None
        if not isinstance(loaded, self.wanted):
            self._leave_out(
                entry, f"{entry.value} is of type {type(loaded).__name__}, not {self.wanted.__name__}"
            )
            return None
        if getattr(loaded, "name", entry.name) != entry.name:
            self._leave_out(entry, f"{entry.value} has another name")
            return None
        return loaded if self._is_alone(entry, loaded) else None

    def _is_alone(self, entry: EntryPoint, loaded: T) -> bool:
        """Return whether it has for itself what it must; of two the one that is listed first has it."""
        if self.alone is None or _distribution(entry) == self.own:
            return True
        before = list(self._entries)[: list(self._entries).index(entry.name)]
        for other in filter(None, map(self.get, before)):
            if self.alone(other) == self.alone(loaded):
                self._leave_out(
                    entry, f"{getattr(other, 'name', other)!r} has {self.alone(loaded)!r} already"
                )
                return False
        return True

    def _leave_out(self, entry: EntryPoint, why: str) -> None:
        tell_once(f"{self.what} {entry.name!r} of {_distribution(entry)} is left out: {why}")


def tell_once(text: str) -> None:
    """Warn the user of a plug-in, once per process."""
    with _turn:
        is_new = text not in _told
        _told.add(text)
    if is_new:
        warnings.warn(text, PluginWarning, stacklevel=2)


@cache
def _installed(_path: tuple[str, ...]) -> Any:
    """Return all entry points, to be selected from: one look at every distribution serves all groups."""
    return entry_points()


def _distribution(entry: EntryPoint) -> str:
    return "an unknown distribution" if entry.dist is None else _name(entry.dist)


@cache
def _name(distribution: Distribution) -> str:
    """Return its name, which is parsed out of its metadata, its readme included, whenever it is asked for."""
    return distribution.name


def _origin(entry: EntryPoint) -> tuple[str, str]:
    return _distribution(entry), entry.value
