"""Writes the layers over all scenes of a batch, of those that are finished."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd
import shapely.geometry

from segment_tiles.pipeline.errors import PlaceError, SegmentTilesError, one_line
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.finished_file import finished_file, make_output_folder, write_failed
from segment_tiles.pipeline.outputs.footprint import footprint
from segment_tiles.pipeline.outputs.qgis_style import polygon_style, remove_style, write_style
from segment_tiles.pipeline.outputs.stores.seals import ZARR_METADATA
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store, read_georef
from segment_tiles.pipeline.vectors.files.merged import DamagedSceneError, write_merged
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.batch.layers.wanted import POLYGONS, Layers
from segment_tiles.workflows.batch.outcome import JobOutcome
from segment_tiles.workflows.batch.results.table import class_columns
from segment_tiles.workflows.buckets.address import shown_out
from segment_tiles.workflows.buckets.copies import part_here
from segment_tiles.workflows.buckets.scratch import scratch_folder
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.results.formats.table import format_of

log = logging.getLogger(__name__)

WGS84 = "EPSG:4326"
"""CRS of footprints, wherever the scenes lie."""

FINISHED = frozenset({"done", "skipped"})
"""States of jobs whose results are there."""
DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON"}
"""Of GDAL, by the ending of the footprints; of others it would choose one itself."""


def write_layers(layers: Layers, outcomes: Sequence[JobOutcome]) -> tuple[list[str], tuple[JobOutcome, ...]]:
    """Write what is asked for; return what the user should know, and the outcomes.

    A scene whose results are damaged is left out, and has failed.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    VectorError
        If the polygons of a scene have no position in the CRS.
    """
    notes: list[str] = []
    for path in layers.files:
        make_output_folder(path.parent)
    outlines: dict[str, Any] = {}
    if layers.footprints is not None:
        outcomes, outlines = _outlined(outcomes)
    if layers.merged is not None:
        said, outcomes = _merged(layers.merged, layers, outcomes)
        notes += said
    if layers.footprints is not None:
        _write_footprints(layers.footprints, outcomes, outlines)
    return notes, tuple(outcomes)


def _failed(
    outcomes: Sequence[JobOutcome], name: str, error: Exception, folder: Path
) -> tuple[JobOutcome, ...]:
    """Return outcomes of which that of one job is failed: what it left is damaged, as read in a folder."""
    out = next(outcome.job.config.out for outcome in outcomes if outcome.job.name == name)
    text = one_line(error).replace(str(folder), shown_out(out))
    log.error("the results of %s are damaged: %s", name, text)
    return tuple(
        replace(outcome, state="failed", error=text, report=None) if outcome.job.name == name else outcome
        for outcome in outcomes
    )


def _outlined(outcomes: Sequence[JobOutcome]) -> tuple[Sequence[JobOutcome], dict[str, Any]]:
    """Return outcomes, and the outlines of those whose store can be read; of the others that they failed."""
    found: dict[str, Any] = {}
    with scratch_folder() as scratch:
        for outcome in tuple(outcomes):
            folder = scratch / str(outcome.job.number)
            try:
                found[outcome.job.name] = _outline(outcome, folder)
            except SegmentTilesError as error:
                outcomes = _failed(outcomes, outcome.job.name, error, folder)
    return outcomes, found


def _merged(
    path: Path, layers: Layers, outcomes: Sequence[JobOutcome]
) -> tuple[list[str], Sequence[JobOutcome]]:
    """Write the polygons of all scenes; return what the user should know, and the outcomes."""
    with scratch_folder() as scratch:
        outcomes, folders = _with_polygons(outcomes, scratch)
        while True:
            found = [
                (outcome.job.name, folders[outcome.job.name] / format_of(POLYGONS).file)
                for outcome in outcomes
                if outcome.state in FINISHED and outcome.job.name in folders
            ]
            try:
                return _write_merged(path, layers, found, len(outcomes)), outcomes
            except DamagedSceneError as error:
                outcomes = _failed(outcomes, error.name, error, folders[error.name])


def _with_polygons(
    outcomes: Sequence[JobOutcome], scratch: Path
) -> tuple[Sequence[JobOutcome], dict[str, Path]]:
    """Return the folders on this disk with the polygons of scenes that have some, and the outcomes.

    Those at URLs are brought into a scratch folder, of which all together are about as large as the merged file.
    """
    name = format_of(POLYGONS).file
    folders: dict[str, Path] = {}
    for outcome in tuple(outcomes):
        job = outcome.job
        try:
            if outcome.state in FINISHED:
                folder = part_here(job.config.out, scratch / str(job.number), name.__eq__)
                folders |= {job.name: folder} if (folder / name).exists() else {}
        except PlaceError as error:
            outcomes = _failed(outcomes, job.name, error, scratch)
    return outcomes, folders


def _write_merged(path: Path, layers: Layers, found: Sequence[tuple[str, Path]], scenes: int) -> list[str]:
    """Write the file of the polygons of some of so many scenes, by name; return what the user should know."""
    if not found:
        _remove_earlier(path)
        return [f"{path.name} is not written: no scene has polygons yet"]
    with finished_file(path) as partial:
        made = write_merged(partial, found, layers.crs)
    notes = []
    classes = made.styled()
    if classes is None:
        remove_style(path, polygon_style(()))
        notes.append(f"{path.name} has no style for QGIS: scenes give one code to different classes")
    else:
        write_style(path, polygon_style(classes))
    missing = scenes - len(found)
    if missing:
        notes.append(
            f"{path.name} goes without {counted(missing, 'scene')} of {scenes} that are not finished"
        )
    return notes


def _remove_earlier(path: Path) -> None:
    """Remove the file of an earlier batch, whose scenes are no longer what they were, and its style."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise write_failed(path, error) from error
    remove_style(path, polygon_style(()))


def _write_footprints(path: Path, outcomes: Sequence[JobOutcome], found: Mapping[str, Any]) -> None:
    """Write a row for each scene; one that is not finished has no outline."""
    rows = pd.DataFrame([_row(outcome) for outcome in outcomes]).convert_dtypes()
    outlines = [None if outcome.has_failed else found[outcome.job.name] for outcome in outcomes]
    frame = geopandas.GeoDataFrame(rows, geometry=geopandas.GeoSeries(outlines, crs=WGS84), crs=WGS84)
    with finished_file(path) as partial:
        ending = path.suffix.lower()
        if ending == ".parquet":
            frame.to_parquet(partial, index=False)
        else:
            frame.to_file(partial, engine="pyogrio", driver=DRIVERS[ending], layer="footprints")


def _row(outcome: JobOutcome) -> dict[str, Any]:
    job, report = outcome.job, outcome.report or {}
    row: dict[str, Any] = {
        "scene": job.name,
        "status": outcome.state,
        "error": outcome.error,
        "source": shown_name(job.config.source),
        "folder": shown_out(job.config.out),
        "date": job.date,
        "model": report.get("model", {}).get("name"),
        "area_unit": report.get("area_unit"),
    }
    return row if outcome.has_failed or "classes" not in report else row | class_columns(report)


def _outline(outcome: JobOutcome, folder: Path) -> Any:
    """Return the outline of a map in longitude and latitude; None if there is none, or no position on Earth.

    The metadata of a store at a URL are brought into a folder.
    """
    if outcome.state not in FINISHED:
        return None
    store = OutputDirectory(part_here(outcome.job.config.out, folder, _describes_store)).store
    if not store.is_dir():
        return None
    group = open_store(store)
    shape = array_of(group, "classes").shape
    found = footprint(read_georef(group), (shape[0], shape[1])) if len(shape) == 2 else None
    return None if found is None else shapely.geometry.shape(found[0])


def _describes_store(key: str) -> bool:
    """Return whether an object describes the store of a run or an array in it."""
    return key.startswith("classes.zarr/") and key.endswith(f"/{ZARR_METADATA}")
