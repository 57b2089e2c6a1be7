"""Converted models on disk: found again by what they were made of, complete or not at all.

A conversion is a folder whose ``complete.json`` holds the checksum of every file in it. It is made under
another name and renamed, so that processes that start together do not disturb one another. One that is
damaged is made again, and a line says so.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

import torch

from segment_tiles.pipeline.durable import sync_folder, sync_tree
from segment_tiles.pipeline.errors import WriteFailedError, one_line
from segment_tiles.pipeline.installed import cache_folder
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.models.backends.protocol import Preparation
from segment_tiles.pipeline.models.devices import device_label
from segment_tiles.pipeline.models.packages.checksum import sha256_of_file
from segment_tiles.pipeline.models.registry import is_bundled

COMPLETE = "complete.json"
"""Written last into a conversion: names and checksums of its files."""
BESIDE = "converted"
"""Folder in a model package that holds what was converted from it."""
NETWORK_FORM = "coarse logits"
"""What is converted, part of the key: an earlier version converted the network with its last upsampling."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Conversion:
    """Where the conversion of one network for one preparation lies."""

    folder: Path
    """Complete, or absent."""

    @property
    def is_complete(self) -> bool:
        """Whether an earlier start finished it; its files are not checked here."""
        return (self.folder / COMPLETE).is_file()

    def made(self, make: Callable[[Path], None]) -> Path:
        """Return the folder; `make` fills it if there is none, or if a file in it is damaged.

        Raises
        ------
        WriteFailedError
            If it cannot be written.
        """
        if self.is_complete and _is_sound(self.folder):
            return self.folder
        if self.folder.exists():
            log.warning("%s is damaged; the model is converted again", self.folder)
            shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
        except OSError as error:
            msg = f"{self.folder}: a converted model cannot be kept there ({one_line(error)})"
            raise WriteFailedError(msg) from error
        try:
            make(partial)
            sums = {file.name: sha256_of_file(file) for file in sorted(partial.iterdir())}
            (partial / COMPLETE).write_text(json_text(sums))
            _move(partial, self.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return self.folder


def conversion(preparation: Preparation, backend: str, library: str, *, executes: bool) -> Conversion:
    """Return where a conversion lies: beside the package where that can be written, else in the user's cache.

    Parameters
    ----------
    preparation
        For what the network is converted.
    backend, library
        Its name, and the version of what converts.
    executes
        Whether loading it executes code. Such a conversion is never read from a package, which may come
        from anybody.
    """
    key = json_text(
        [NETWORK_FORM, preparation.checksum, preparation.shape, preparation.precision, device_label(preparation.device),
         library, torch.__version__, torch.backends.cpu.get_cpu_capability()],
        indent=None,
    )  # fmt: skip
    name = f"{backend}-{preparation.precision}-{sha256(key.encode()).hexdigest()[:16]}"
    package = preparation.folder
    beside = package is not None and not executes and not is_bundled(package)
    if beside and package is not None and os.access(package, os.W_OK):
        return Conversion(package / BESIDE / name)
    return Conversion(cache_folder() / BESIDE / name)


def _is_sound(folder: Path) -> bool:
    try:
        sums = json.loads((folder / COMPLETE).read_text())
        return all(sha256_of_file(folder / name) == value for name, value in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def _move(partial: Path, folder: Path) -> None:
    try:
        sync_tree(partial)
        partial.rename(folder)
        sync_folder(folder.parent)
    except OSError:
        if not (folder / COMPLETE).is_file():
            raise
        # another process was quicker: its conversion is of the same network
