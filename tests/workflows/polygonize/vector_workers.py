"""Workers of a pool that do what a test needs; a module of its own, since processes of a pool import it by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.errors import SourceError


class Sleeper:
    """Tells its process by a file, and sleeps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def nap(self, seconds: float) -> float:
        (self._folder / f"{os.getpid()}.pid").touch()
        time.sleep(seconds)
        return seconds

    def close(self) -> None: ...


class Dying:
    """Is killed in its first tasks, as often as there are files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def double(self, number: int) -> int:
        for token in self._folder.glob("kill-*"):
            try:
                token.unlink()
            except FileNotFoundError:  # another worker took it
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * number

    def close(self) -> None: ...


def refused(_setup: Any) -> Sleeper:
    """Stand for a raster that cannot be opened any more."""
    msg = "scene.tif: no such file"
    raise SourceError(msg)
