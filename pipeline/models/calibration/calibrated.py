"""Calibrated networks: int8 with the ranges of its activations, measured once on a user's tiles and kept by checksum.

::

    ~/.cache/segment-tiles/int8/WEIGHTS-SIDE.zip     the one that counts for a network and a side of a tile
    OUT/.segment-tiles/int8/CHECKSUM.zip             a copy beside a run in work: every worker sees it

One file, so that it is there as a whole or not at all; its checksum is part of the run that uses it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.durable import make_folder, write_whole
from segment_tiles.pipeline.errors import ModelError, WriteFailedError, one_line
from segment_tiles.pipeline.json_text import json_text

INT8: Final = "int8"
"""The precision that needs a calibrated network."""
DESCRIPTION: Final = "calibration.json"
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
"""What a zip file says of every file in it: the same network has the same checksum whenever it is packed."""


@dataclass(frozen=True)
class Calibrated:
    """A calibrated network, packed. Without slots, which would leave no room for what is found once."""

    packed: bytes = field(repr=False)
    """A zip file: the files of a backend, and `DESCRIPTION`."""

    @cached_property
    def checksum(self) -> str:
        """sha256 of the packed file, hexadecimal."""
        return sha256(self.packed).hexdigest()

    @cached_property
    def described(self) -> dict[str, Any]:
        """On what it was calibrated, and when."""
        return dict(json.loads(self.file(DESCRIPTION)))

    def file(self, name: str) -> bytes:
        """Return one of its files."""
        with zipfile.ZipFile(io.BytesIO(self.packed)) as packed:
            return packed.read(name)

    def write(self, path: Path) -> None:
        """Keep it: whole, or not at all.

        Raises
        ------
        WriteFailedError
            If it cannot be written.
        """
        try:
            make_folder(path.parent)
            write_whole(path, self.packed)
        except OSError as error:
            msg = f"{path}: a calibrated network cannot be kept there ({one_line(error)})"
            raise WriteFailedError(msg) from error


def pack(files: Mapping[str, bytes], description: Mapping[str, Any]) -> Calibrated:
    """Return files of a backend and what there is to say of them as one."""
    text = json_text(dict(description), sort_keys=True).encode()
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in sorted({**files, DESCRIPTION: text}.items()):
            packed.writestr(zipfile.ZipInfo(name, _EARLIEST), content, zipfile.ZIP_DEFLATED)
    return Calibrated(into.getvalue())


def read_calibrated(path: Path) -> Calibrated | None:
    """Return the network in a file; None if there is none, or if it is damaged: then it is calibrated again.

    The file is read and checked once for each state of it: every scene of a batch asks.
    """
    try:
        state = path.stat()
    except OSError:
        return None
    return _read_as_it_is(path, (state.st_ino, state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=2)  # that of a batch, and that of its mask
def _read_as_it_is(path: Path, _state: tuple[int, int, int]) -> Calibrated | None:
    try:
        found = Calibrated(path.read_bytes())
        with zipfile.ZipFile(io.BytesIO(found.packed)) as packed:
            is_sound = packed.testzip() is None
        return found if is_sound and isinstance(found.described, dict) else None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, TypeError):
        return None


def kept_path(cache: Path, network_checksum: str, side: int) -> Path:
    """Return where the one that counts for a network and a side of a tile in pixels is kept."""
    return cache / INT8 / f"{network_checksum.rpartition(':')[2][:16]}-{side}.zip"


def copy_path(folder: Path, checksum: str) -> Path:
    """Return where the folder of a run has a copy."""
    return calibrated_folder(folder) / f"{checksum}.zip"


def calibrated_folder(folder: Path) -> Path:
    """Return where the folder of a run has its copies, until the run is at its end."""
    return folder / INT8


def copies_of(folder: Path) -> dict[str, Path]:
    """Return the copies that the folder of a run has, by their path in it."""
    return {
        path.relative_to(folder).as_posix(): path for path in sorted(calibrated_folder(folder).glob("*.zip"))
    }


def required_calibrated(checksum: str, paths: tuple[Path, ...]) -> Calibrated:
    """Return the network with this checksum, from the first of some files that holds it.

    Raises
    ------
    ModelError
        If none does.
    """
    for path in paths:
        found = read_calibrated(path)
        if found is not None and found.checksum == checksum:
            return found
    msg = (
        f"--precision int8: the calibrated network {checksum[:12]} that the run was begun with is not in "
        f"{' or '.join(str(path) for path in paths)}; put it back, or use --restart, which calibrates it again"
    )
    raise ModelError(msg)
