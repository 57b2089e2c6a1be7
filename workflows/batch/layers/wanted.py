"""Which layers a jobs file asks for, and what forbids them before anything is computed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from segment_tiles.pipeline.errors import SegmentTilesError, UsageError
from segment_tiles.pipeline.sources.areas.vector_file import split_layer
from segment_tiles.workflows.batch.jobs import Job
from segment_tiles.workflows.batch.jobs_file import JobsFile
from segment_tiles.workflows.batch.sources.mosaic import readable_mosaic
from segment_tiles.workflows.buckets.request import checked_request
from segment_tiles.workflows.results.formats.subjects import subject_of_scene

POLYGONS: Final = "parquet"
"""The format of each scene of which the merged file is made."""


@dataclass(frozen=True, slots=True)
class Layers:
    """Layers over all scenes."""

    merged: Path | None = None
    """GeoParquet file of all polygons, or its URL."""
    crs: CRS | None = None
    """Of it; None: that of the scenes."""
    footprints: Path | None = None
    """File of the outlines of all scenes, or its URL."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are asked for."""
        return tuple(path for path in (self.merged, self.footprints) if path is not None)


NONE: Final = Layers()
"""No layer."""


def layers_of(file: JobsFile) -> Layers:
    """Return the layers that a jobs file asks for; relative names lie in its folder of results.

    Raises
    ------
    UsageError
        If one is a URL of a place that is not known, or has secrets in it.
    """
    said = file.settings
    return Layers(
        None if said.merged is None else file.located(said.merged, "merged", file.results),
        None if said.merged_crs is None else CRS.from_user_input(said.merged_crs),
        None if said.footprints is None else file.located(said.footprints, "footprints", file.results),
    )


def check_layers(file: JobsFile, jobs: Sequence[Job]) -> None:
    """Refuse names that files of the batch have, and scenes that cannot be in one file of polygons.

    Every scene is opened for the CRS of its polygons, if such a file is asked for. One that cannot be opened fails by
    itself.

    Raises
    ------
    UsageError
        With the name, or the line of the job, what differs, and what to say.
    """
    layers = layers_of(file)
    if layers.files:
        _check_names(file, layers, jobs)
    if layers.merged is None:
        return
    first: tuple[Job, CRS | None] | None = None
    with tempfile.TemporaryDirectory(prefix="segment-tiles-") as folder:
        for job in jobs:
            try:
                config, scene = checked_request(readable_mosaic(job, Path(folder)).config)
            except SegmentTilesError:
                continue
            if POLYGONS not in config.formats or config.split_by_class:
                what = "are one file for each class" if config.split_by_class else "are in no GeoParquet file"
                raise file.error(
                    job.line,
                    f"merged: the polygons of {job.name} {what}; add {POLYGONS} to its format, without split-by-class",
                )
            # of the files, which --crs and --like may bring onto another grid
            crs = subject_of_scene(config, scene).of_files.georef.crs
            _check_position(file, job, crs, layers.crs)
            if first is not None and layers.crs is None and first[1] != crs:
                raise file.error(job.line, _differs(first, (job, crs)))
            first = first or (job, crs)


def _check_names(file: JobsFile, layers: Layers, jobs: Sequence[Job]) -> None:
    """Refuse layers that would replace each other, another file of the batch, or one that it reads."""
    from segment_tiles.workflows.batch.results.collection import COLLECTION, TABLES  # noqa: PLC0415 - few files ask

    named = {"merged": layers.merged, "footprints": layers.footprints}
    given = {key: path.resolve() for key, path in named.items() if path is not None}
    # QGIS and the collection know a layer by its name without the ending
    if len(given) == 2 and len({path.stem.casefold() for path in given.values()}) == 1:
        stem = given["merged"].stem
        msg = f"{file.path}: merged and footprints are both called {stem}; give one another name"
        raise UsageError(msg)
    taken = {file.results.resolve() / name for name in (COLLECTION, *(name for _, name, _ in TABLES))}
    read = {Path(job.config.source).resolve() for job in jobs}
    read |= {split_layer(job.config.aoi)[0].resolve() for job in jobs if job.config.aoi is not None}
    outs = {job.config.out.resolve(): job.name for job in jobs}
    for key, path in given.items():
        owner = next((outs[folder] for folder in (path, *path.parents) if folder in outs), None)
        reason = (
            f"lies in {owner}, the output of a job"
            if owner is not None
            else "is a file of the batch itself"
            if path in taken
            else "is read by the batch"
            if path in read
            else "is a folder"
            if path.is_dir()
            else None
        )
        if reason is not None:
            msg = (
                f"{file.path}: {key}: {path.name} {reason}; give another name, such as all-{key}{path.suffix}"
            )
            raise UsageError(msg)


def _check_position(file: JobsFile, job: Job, crs: CRS | None, target: CRS | None) -> None:
    if target is None:
        return
    if crs is None:
        raise file.error(job.line, f"merged: {job.name} has no CRS, so it has no position in {target.name}")
    try:
        Transformer.from_crs(crs, target)
    except ProjError as error:
        text = f"merged: {crs.name}, the CRS of {job.name}, cannot be converted to {target.name}"
        raise file.error(job.line, text) from error


def _differs(first: tuple[Job, CRS | None], other: tuple[Job, CRS | None]) -> str:
    (one, its), (two, others) = first, other
    names = ["no CRS" if crs is None else crs.name for crs in (its, others)]
    return (
        f"merged: {two.name} is in {names[1]}, {one.name} in {names[0]}; say by merged-crs in which all are to be, "
        "such as EPSG:4326"
    )
