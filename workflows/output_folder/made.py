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
_OBJECTS: Final = "objects.json"
_SHAPEFILE: Final = (".shx", ".dbf", ".prj", ".cpg")


def ways_of(own: Path) -> dict[str, Way]:
    """Return format -> how its file was made, of those that were not made as usual.

    Parameters
    ----------
    own
        Folder with the books of the run.
    """
    return dict(_fields(own)["ways"])


def files_by_class(own: Path) -> dict[str, list[str]]:
    """Return format -> its files, of those that have one for each class in place of one."""
    return {name: list(files) for name, files in _fields(own)["files"].items()}


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
    before, files = ways_of(own), files_by_class(own)
    now = {**before, **{name: way for name, (_, way) in wanted.items()}}
    now = {name: way for name, way in now.items() if way}
    if now == before:
        return
    make_output_folder(own)
    try:
        for name, (file, way) in wanted.items():
            if before.get(name, {}) != way:
                remove_files(folder, files.pop(name, [file]))
        write_sealed(own / _FILE, {"ways": now, "files": files})
    except OSError as error:
        raise write_failed(own / _FILE, error) from error


def keep_files(own: Path, folder: Path, made: Mapping[str, Sequence[str]]) -> None:
    """Note the files of classes that were made, and remove those of an earlier time that are none of them.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    fields, before = _fields(own), files_by_class(own)
    try:
        for name, files in made.items():
            remove_files(folder, [file for file in before.get(name, ()) if file not in files])
        write_sealed(own / _FILE, {**fields, "files": {**before, **made}})
    except OSError as error:
        raise write_failed(own / _FILE, error) from error


def objects_of(own: Path) -> dict[str, Any] | None:
    """Return how many objects the polygons have that were made last, and how dense they lie; None: they have none."""
    return read_sealed(own / _OBJECTS)


def keep_objects(own: Path, found: Mapping[str, Any] | None) -> None:
    """Keep what `objects_of` returns.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    try:
        if found is None:
            (own / _OBJECTS).unlink(missing_ok=True)
        else:
            make_output_folder(own)
            write_sealed(own / _OBJECTS, found)
    except OSError as error:
        raise write_failed(own / _OBJECTS, error) from error


def remove_files(folder: Path, names: Sequence[str]) -> None:
    """Remove files, and what belongs to each: the parts of a shapefile, and the style of polygons of a class.

    Raises
    ------
    OSError
        If that is not allowed.
    """
    for path in (folder / name for name in names):
        remove(path)
        siblings = _SHAPEFILE if path.suffix == ".shp" else ()
        style = (".qml",) if path.name.count(".") > 1 else ()
        for ending in (*siblings, *style):
            remove(path.with_suffix(ending))


def made_otherwise(own: Path, wanted: Mapping[str, Way]) -> Sequence[str]:
    """Return the formats whose files, if there are any, were not made in the way that is asked for."""
    before = ways_of(own)
    return [name for name, way in wanted.items() if before.get(name, {}) != way]


def _fields(own: Path) -> dict[str, Any]:
    return {"ways": {}, "files": {}, **(read_sealed(own / _FILE) or {})}
