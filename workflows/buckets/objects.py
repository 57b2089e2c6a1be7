"""A folder of this machine and the objects of a place that stand for its files: brought, put and removed by key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.durable import make_folder
from segment_tiles.pipeline.outputs.stores.seals import Seal, seal_of
from segment_tiles.pipeline.places.protocol import Place

_AT_ONCE: Final = 8
"""Objects that are read or written at the same time."""


class SyncedFolder:
    """Knows what lies in a place, and which files are there as they are here.

    Parameters
    ----------
    place
        Listed now.
    folder
        Of this machine.
    before_put
        Called before each object is written: raises if this process may not.
    """

    def __init__(self, place: Place, folder: Path, before_put: Callable[[], None]) -> None:
        self._place, self._folder, self._before_put = place, folder, before_put
        self._known: dict[str, Seal] = {}
        self.there = place.sizes()
        """Bytes of each object, by key."""

    def key(self, path: Path) -> str:
        """Return the key of a file."""
        return path.relative_to(self._folder).as_posix()

    def files(self) -> dict[str, Path]:
        """Return all files of the folder, by key."""
        return {self.key(path): path for path in sorted(self._folder.rglob("*")) if path.is_file()}

    def is_same(self, key: str) -> bool:
        """Return whether a file is in the place as it is here, as far as this process has brought or put it."""
        known = self._known.get(key)
        return known is not None and known.is_kept(self._folder / key)

    def bring(self, keys: Iterable[str]) -> None:
        """Write objects that are there into the folder.

        Raises
        ------
        PlaceError
            If the place does not answer.
        """

        def fetch(key: str) -> tuple[str, Seal]:
            target = self._folder / key
            make_folder(target.parent)
            self._place.read_file(key, target)
            return key, seal_of(target)

        with ContextPool(_AT_ONCE, thread_name_prefix="fetch") as pool:
            self._known |= dict(pool.map(fetch, [key for key in keys if key in self.there]))

    def put(self, keys: Iterable[str]) -> None:
        """Write files of the folder into the place.

        Raises
        ------
        PlaceError
            If the place does not answer.
        """

        def send(key: str) -> tuple[str, Seal]:
            self._before_put()
            seal = seal_of(self._folder / key)
            self._place.put_file(key, self._folder / key)
            return key, seal

        with ContextPool(_AT_ONCE, thread_name_prefix="publish") as pool:
            written = dict(pool.map(send, keys))
        self._known |= written
        self.there |= {key: seal.size for key, seal in written.items()}

    def put_content(self, key: str, content: bytes) -> None:
        """Write an object that is no file of the folder."""
        self._before_put()
        self._place.put(key, content)
        self.there[key] = len(content)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects, those that are there; the files stay."""
        gone = [key for key in keys if key in self.there]
        if gone:
            self._place.delete_all(gone)
        for key in gone:
            self.there.pop(key)
            self._known.pop(key, None)
