"""How files of formats were made, kept beside the run: one that was made otherwise than asked for is made again.

The class map does not depend on what is asked of polygons, so the fingerprint of the run does not know it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.durable import remove
from segment_tiles.pipeline.outputs.finished_file import make_output_folder, write_failed
from segment_tiles.pipeline.outputs.stores.seals import read_sealed, write_sealed

Way = Mapping[str, Any]
"""Options that differ from the usual ones, as plain values; {}: as usual."""
_FILE: Final = "made.json"


def ways_of(own: Path) -> dict[str, Way]:
    """Return format -> how its file was made, of those that were not made as usual.

    Parameters
    ----------
    own
        Folder with the books of the run.
    """
    fields = read_sealed(own / _FILE)
    return {} if fields is None else dict(fields["ways"])


def begin_files(own: Path, folder: Path, wanted: Mapping[str, tuple[str, Way]]) -> None:
    """Note how files will be made, after those that were made otherwise are gone: nothing is ever taken for another.

    Parameters
    ----------
    own, folder
        Books and results of the run.
    wanted
        Format -> its file, and how it will be made.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    before = ways_of(own)
    now = {**before, **{name: way for name, (_, way) in wanted.items()}}
    now = {name: way for name, way in now.items() if way}
    if now == before:
        return
    make_output_folder(own)
    try:
        for name, (file, way) in wanted.items():
            if before.get(name, {}) != way:
                remove(folder / file)
        write_sealed(own / _FILE, {"ways": now})
    except OSError as error:
        raise write_failed(own / _FILE, error) from error


def made_otherwise(own: Path, wanted: Mapping[str, Way]) -> Sequence[str]:
    """Return the formats whose files, if there are any, were not made in the way that is asked for."""
    before = ways_of(own)
    return [name for name, way in wanted.items() if before.get(name, {}) != way]
