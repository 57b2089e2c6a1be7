"""The scenes of a job: files by name or glob, rows of a CSV file, assets of STAC items."""

from __future__ import annotations

import csv
import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from segment_tiles.pipeline.errors import MissingExtraError, UsageError, one_line
from segment_tiles.pipeline.names import is_stack, is_url, shown_name
from segment_tiles.pipeline.sources.stacks.elements import located_source
from segment_tiles.workflows.batch.jobs_file import JobsFile
from segment_tiles.workflows.batch.settings import JobEntry, RunSettings
from segment_tiles.workflows.batch.sources.stac_groups import grouped
from segment_tiles.workflows.batch.sources.stac_scenes import scene_of_item, stac_items
from segment_tiles.workflows.batch.sources.stac_search import found_items
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.declare import options_of

GLOB_SIGNS = frozenset("*?[")
LIST_KEYS = tuple(declared.name for declared in options_of(RunConfig) if declared.is_list)
"""Settings with several values; in a cell of a CSV file they are separated by commas."""


@dataclass(frozen=True, slots=True)
class ListedScene:
    """A scene as a list names it."""

    source: str = field(repr=False)  # may hold secrets
    """Absolute path or URL."""
    fields: Mapping[str, str]
    """What `out` may name of it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of this scene alone, by the names of `RunSettings`."""


def list_scenes(file: JobsFile, entry: JobEntry, line: int) -> list[ListedScene]:
    """Return the scenes of an entry, in the order of its list; globs are sorted.

    Raises
    ------
    UsageError
        With the line of the entry: nothing matches, a file or column is missing, STAC cannot be read.
    """
    if entry.csv is not None:
        return list(_rows(file, entry, line))
    if entry.stac is not None:
        try:
            return _of_items(file, entry)
        except (UsageError, MissingExtraError) as error:
            raise file.error(line, one_line(error)) from error
    patterns = (entry.source,) if isinstance(entry.source, str) else entry.source or ()
    return [_scene(path) for pattern in patterns for path in _matches(file, pattern, line)]


def _of_items(file: JobsFile, entry: JobEntry) -> list[ListedScene]:
    """Return the scenes of STAC items: of a document or a search, each alone or in groups."""
    href = located(file.folder, entry.stac or "")
    search = entry.search
    items = stac_items(href) if search is None else found_items(href, search.arguments())
    if entry.group_by or entry.dates:
        found = grouped(items, entry.group_by, entry.dates, entry.name or "")
        return [ListedScene(source, {"stem": names["id"], "folder": "", **names}) for source, names in found]
    are_stacks = "assets" in {**file.settings.defaults.given(), **entry.given()}
    scenes = []
    for item in items:
        scene = scene_of_item(item, entry.asset, is_stack=are_stacks)
        of_file = {"stem": item.id, "folder": ""} if scene.file is None else _names(scene.file)
        assets = {"assets": scene.assets} if scene.assets else {}
        scenes.append(ListedScene(scene.source, {**of_file, **scene.names}, assets))
    return scenes


def located(folder: Path, name: str) -> str:
    """Return a URL as it is and a path as an absolute one.

    >>> located(Path("/data"), "a.tif"), located(Path("/data"), "https://host/a.tif")
    ('/data/a.tif', 'https://host/a.tif')
    """
    if is_url(name):
        return name
    return str(folder / Path(name).expanduser())


def _scene(uri: str) -> ListedScene:
    return ListedScene(uri, _names(uri))


def _names(uri: str) -> dict[str, str]:
    first = shown_name(uri).partition(",")[0] if is_stack(uri) else shown_name(uri)
    path = PurePosixPath(urlsplit(first).path) if is_url(first) else PurePath(first)
    return {"stem": path.stem, "id": path.stem, "folder": path.parent.name}


def _matches(file: JobsFile, pattern: str, line: int) -> list[str]:
    address = located_source(pattern, file.folder)
    if is_stack(address):
        return [address]
    is_local = not is_url(address)
    if (
        not GLOB_SIGNS & set(address)
        or (is_local and Path(address).exists())
        or (not is_local and "*" not in address)
    ):
        return [address]
    if not is_local:
        msg = (
            f"{pattern}: a glob lists local files only; list URLs one by one, in a CSV file, or as STAC items"
        )
        raise file.error(line, msg)
    # folders too: a DICOM series or a Zarr store is one
    found = sorted(glob.glob(address, recursive=True))  # noqa: PTH207 - Path.glob would list hidden files
    if not found:
        raise file.error(line, f"no file matches {pattern} in {file.folder}")
    return found


def _rows(file: JobsFile, entry: JobEntry, line: int) -> Iterator[ListedScene]:
    path = Path(located(file.folder, entry.csv or ""))
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            if entry.column not in (reader.fieldnames or ()):
                found = ", ".join(reader.fieldnames or ()) or "none"
                msg = f"{path} has no column {entry.column!r}; its columns are {found}; name one with column"
                raise file.error(line, msg)
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise file.error(line, f"{path} cannot be read ({error.strerror})") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise file.error(line, f"{path} is not a CSV file in UTF-8 ({one_line(error)})") from error
    if not rows:
        raise file.error(line, f"{path} has no row below its header")
    for number, row in rows:
        yield _row_scene(path, number, row, entry.column)


def _row_scene(path: Path, number: int, row: dict[str | None, Any], column: str) -> ListedScene:
    if None in row or None in row.values():
        msg = f"{path}, line {number}: has more or fewer cells than the header has columns"
        raise UsageError(msg)
    cells = {str(key): str(value).strip() for key, value in row.items()}
    if not cells[column]:
        msg = f"{path}, line {number}: column {column!r} is empty; it must name a raster"
        raise UsageError(msg)
    uri = located_source(cells[column], path.absolute().parent)
    keys = {info.alias: name for name, info in RunSettings.model_fields.items()}
    values = {
        key: cell.split(",") if key in LIST_KEYS else cell
        for key, cell in cells.items()
        if key in keys and cell
    }
    try:
        settings = RunSettings.model_validate(values).given()
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"{path}, line {number}: {first['loc'][0]} is {first['input']!r}: {first['msg']}"
        raise UsageError(msg) from error
    return ListedScene(uri, {**_names(uri), **cells}, settings)
