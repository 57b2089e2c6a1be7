"""The STAC item of a run: what a catalogue needs to know of the result."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import zarr

from segment_tiles.pipeline.grid.reclass import Reclass
from segment_tiles.pipeline.models.package import MANIFEST_FILE
from segment_tiles.pipeline.names import is_url, shown_name, title_of
from segment_tiles.pipeline.outputs.stac_item import ItemFile, Provenance, read_item, update_item, write_item
from segment_tiles.pipeline.outputs.stores.store import array_of, read_class_table, read_georef
from segment_tiles.pipeline.outputs.warped_map import grid_of_file
from segment_tiles.pipeline.sources.stacks.description import files_of
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.results.finished_report import MADE_WITH
from segment_tiles.workflows.results.formats.decided import Decided
from segment_tiles.workflows.results.formats.table import format_of_file
from segment_tiles.workflows.results.picture import PREVIEW
from segment_tiles.workflows.scenes.scene import Scene, SceneMask

ITEM = "item.json"
"""Name of the item in the output directory."""
OTHER_FILES: Final = {
    PREVIEW: ("preview", "Scene and class map", "image/png", "overview"),
    "report.json": ("report", "Counts, areas, timings", "application/json", "metadata"),
}
"""Key, title, media type and role of what is no Format."""
UNKNOWN: Final = "application/octet-stream"
"""Media type of what a Format made that is not installed any more."""


def write_run_item(directory: OutputDirectory, scene: Scene, report: Mapping[str, Any]) -> None:
    """Write ``item.json`` from a finished report; its assets are the report's outputs."""
    provenance = Provenance(
        sources=tuple(portable_href(name, directory.path) for name in files_of(scene.uri)),
        source_name=title_of(scene.uri.rstrip("/")),
        model=portable_href(str(scene.model_folder / MANIFEST_FILE), directory.path),
        model_name=scene.manifest.name,
        mask=None if scene.mask is None else _mask(scene.mask, directory.path),
        created=datetime.now(UTC),
        software={"segment-tiles": report["version"], **report["versions"]},
    )
    write_item(
        directory.path / ITEM,
        _assets(directory, report),
        georef=scene.georef,
        shape=scene.roi.shape,
        table=scene.classes,
        pixel_counts=_pixel_counts(report),
        provenance=provenance,
    )


def _mask(mask: SceneMask, folder: Path) -> tuple[str | None, str, str]:
    names = ", ".join(mask.names)
    did = f"limited to {names}" if mask.keeps else f"with {names} left out"
    own = mask.scene
    return portable_href(str(own.model_folder / MANIFEST_FILE), folder), own.manifest.name, did


def check_run_item(directory: OutputDirectory) -> None:
    """Refuse an ``item.json`` that is there but cannot be read: what it says of the scene would be lost.

    Raises
    ------
    OutputError
        Saying how to get a new one.
    """
    if (directory.path / ITEM).exists():
        read_item(directory.path / ITEM)


def update_run_item(directory: OutputDirectory, group: zarr.Group, report: Mapping[str, Any]) -> None:
    """Give ``item.json``, if the run has one, the assets and checksums of a report that has changed."""
    if not (directory.path / ITEM).exists():  # a volume has no position on Earth
        return
    rows, columns = array_of(group, "classes").shape
    update_item(
        directory.path / ITEM,
        _assets(directory, report),
        georef=read_georef(group),
        shape=(rows, columns),
        table=read_class_table(group),
        pixel_counts=_pixel_counts(report),
    )


def portable_href(uri: str, folder: Path) -> str | None:
    """Return how a file is called from a folder that may move to another machine; None if it cannot be.

    A URL stays. A file in the folder, or beside it, is named from there. Any other path says something about
    this machine alone.
    """
    if is_url(uri):
        return shown_name(uri)
    path, home = Path(uri).absolute(), folder.absolute().parent
    # beside the root folder lies everything
    if home == home.parent or not path.is_relative_to(home) or not path.exists():
        return None
    return Path(os.path.relpath(path, folder.absolute())).as_posix()


def _assets(directory: OutputDirectory, report: Mapping[str, Any]) -> list[ItemFile]:
    ways = report.get(MADE_WITH, {})
    return [
        _own_classes(item_file(directory.path / name), ways, report)
        for name in report["outputs"]
        if name != ITEM
    ]


def _own_classes(file: ItemFile, ways: Mapping[str, Any], report: Mapping[str, Any]) -> ItemFile:
    """Return a file with the classes and the grid that it has, if they are not those of the store."""
    made = format_of_file(file.path.name)
    way = {} if made is None else ways.get(made.name, {})
    own, counts = None, _pixel_counts(report)
    if "decided" in way:
        decided = Decided.from_plain(way["decided"])
        own, counts = decided.table, list(decided.counts)
    if "reclass" in way:
        reclass = Reclass.from_plain(way["reclass"])
        own, counts = reclass.table, reclass.sums(counts)
    file = file if own is None else replace(file, own_classes=(own, counts))
    is_raster = "grid" in way and file.path.suffix == ".tif"
    return replace(file, own_grid=grid_of_file(file.path)) if is_raster else file


def item_file(path: Path) -> ItemFile:
    """Return what the item says of a file: of a Format what its table says."""
    made = format_of_file(path.name)
    if made is not None:
        is_part = path.name != made.file  # the polygons of one class
        key, title = (
            (path.name, f"Polygons ({path.name})") if is_part else (made.key or made.file, made.title)
        )
        return ItemFile(path, key, title, made.media_type, made.roles, made.is_class_raster)
    key, title, media_type, role = OTHER_FILES.get(path.name) or (path.name, path.name, UNKNOWN, "data")
    return ItemFile(path, key, title, media_type, (role,))


def _pixel_counts(report: Mapping[str, Any]) -> list[int]:
    return [entry["pixels"] for entry in report["classes"]]
