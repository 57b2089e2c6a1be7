"""The jobs of a batch: one scene or mosaic each, with settings resolved and an output directory of its own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any
from urllib.parse import unquote

from segment_tiles.pipeline.errors import SegmentTilesError, UsageError, one_line
from segment_tiles.pipeline.models.packages.manifest import ALL_HEADS
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.places.address import is_address
from segment_tiles.workflows.batch.heads import head_names
from segment_tiles.workflows.batch.jobs_file import JobsFile
from segment_tiles.workflows.batch.settings import JobEntry, RunSettings
from segment_tiles.workflows.batch.sources.scenes import ListedScene, list_scenes, located
from segment_tiles.workflows.buckets.address import (
    address_of,
    escaped,
    on_this_disk,
    refuse_secrets,
    same_place,
    shown_out,
)
from segment_tiles.workflows.config import TISSUES, RunConfig, run_config_from
from segment_tiles.workflows.options.declare import options_of
from segment_tiles.workflows.options.parsers import parse_models
from segment_tiles.workflows.options.polygons import OF_SOURCE
from segment_tiles.workflows.options.scaling import names_scaling_file
from segment_tiles.workflows.output_folder.check import check_output_folder, refuse_url

HeadsOf = Callable[[str], tuple[str, ...]]
MOSAIC_FOLDER = "mosaics"
"""Where in the results folder the index of each mosaic lies."""


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Scenes that are segmented as one raster."""

    scenes: tuple[str, ...] = field(repr=False)  # may hold secrets
    """Absolute paths or URLs; where scenes overlap, later ones lie on top."""
    nodata: float | None
    """Value of missing pixels, in place of the declared one."""
    resampling: str | None
    """How scenes on other grids are warped; None refuses them."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a batch."""

    number: int
    """Position in the batch, from 1."""
    name: str
    """Output directory relative to the jobs file, or its URL: no two jobs share it."""
    config: RunConfig
    """What is run; the source of a mosaic is its index."""
    line: int
    """Line of the jobs file."""
    mosaic: Mosaic | None = None
    """What the source is made of."""
    date: str | None = None
    """When the scene was taken, if its list says so."""


def list_jobs(file: JobsFile, *, restart: bool = False) -> list[Job]:
    """Return the jobs of a file.

    Raises
    ------
    UsageError
        With the line: a list of scenes is empty or broken, a job has no model, `out` names an unknown field,
        two jobs have one output directory or one inside the other, `out` or `results` is a URL of a place that is not
        known.
    OutputError
        The results folder cannot be written.
    """
    if address_of(file.results) is None:
        check_output_folder(file.results, f"{file.path}: results")
    jobs: list[Job] = []
    heads_of = cache(head_names)
    for entry, line in zip(file.settings.jobs, file.job_lines, strict=True):
        scenes = list_scenes(file, entry, line)
        if entry.mosaic_settings is not None:
            scenes, mosaic = [_mosaic_scene(file, entry)], tuple(scene.source for scene in scenes)
        else:
            mosaic = ()
        for scene in scenes:
            job = _job(file, entry, line, len(jobs) + 1, scene, mosaic, restart=restart)
            try:
                jobs.extend(each_head(job, heads_of))
            except SegmentTilesError as error:
                raise file.error(line, one_line(error)) from error
    _check_outputs(file, jobs)
    return jobs


def each_head(job: Job, heads_of: HeadsOf = head_names) -> tuple[Job, ...]:
    """Return a job for each head of a model, numbered from that of the job, where all are asked for; else the job.

    Parameters
    ----------
    job
        As if it were one.
    heads_of
        Gives the heads of a model; of many jobs with a memory, for they have few models.

    Raises
    ------
    ModelError
        There is no such model.
    UsageError
        The model has one output, or the job is a mosaic, whose index is of one run.
    """
    if job.config.head != ALL_HEADS:
        return (job,)
    names = heads_of(job.config.model)
    if job.mosaic is not None:
        msg = f"head is all, and a mosaic is mapped by one; give a job to each of {', '.join(names)}"
        raise UsageError(msg)
    out = on_this_disk(job.config.out)
    folders = [_as_file_name(name) if address_of(out) is None else escaped(name) for name in names]
    return tuple(
        replace(
            job,
            number=job.number + position,
            name=f"{job.name}/{folder}",
            config=replace(job.config, head=name, out=out / folder),
        )
        for position, (name, folder) in enumerate(zip(names, folders, strict=True))
    )


def _mosaic_scene(file: JobsFile, entry: JobEntry) -> ListedScene:
    name = entry.name or ""
    results, file_name = shown_out(file.results), _as_file_name(name)
    if address_of(file.results) is not None:
        # GDAL knows objects by their names as they are, without escapes
        results, file_name = unquote(results), re.sub(r"[%?#]", "_", file_name)
    index = f"{results}/{MOSAIC_FOLDER}/{file_name}.gti.gpkg"
    return ListedScene(index, {"stem": name, "id": name, "folder": MOSAIC_FOLDER})


def _job(
    file: JobsFile,
    entry: JobEntry,
    line: int,
    number: int,
    scene: ListedScene,
    mosaic: Sequence[str],
    *,
    restart: bool,
) -> Job:
    settings = {**file.settings.defaults.given(), **entry.given(), **scene.settings}
    if "model" not in settings:
        raise file.error(line, "no model is named, here or in defaults")
    fields = {**scene.fields, "number": str(number), "name": entry.name or ""}
    folders = {"results": shown_out(file.results)}
    named = _filled(file, line, entry.out or file.settings.out, fields, folders)
    try:
        out = _out(file.folder, named)
    except UsageError as error:
        raise file.error(line, one_line(error)) from error
    made_of = None
    if entry.mosaic_settings is not None:
        # the index carries the nodata value to the scenes and to the run
        made_of = Mosaic(tuple(mosaic), settings.get("nodata"), entry.mosaic_settings.resampling)
    config = run_config(file.folder, scene.source, out, settings, restart=restart)
    name = _relative(config.out, file.folder.resolve())
    return Job(number, name, config, line, made_of, scene.fields.get("date") or None)


def _out(folder: Path, name: str) -> Path:
    """Return the output directory that a jobs file in a folder names, or the URL.

    Raises
    ------
    UsageError
        If it is a URL into which a run cannot write, or has secrets.
    """
    named = on_this_disk(Path(name))
    address = address_of(named, "out")
    if address is not None:
        refuse_secrets(address, "out")
        return named
    out = folder / named
    refuse_url(out.relative_to(folder) if out.is_relative_to(folder) else out, "out")
    return out.resolve()


def run_config(
    folder: Path, source: str, out: Path, settings: Mapping[str, Any], *, restart: bool
) -> RunConfig:
    """Return the configuration of a run from checked settings, by the names of `RunSettings`.

    Raises
    ------
    UsageError
        If a value is wrong in a way that its key does not tell.
    """
    options = {name: value for name, value in settings.items() if name in RunSettings.model_fields}
    for declared in options_of(RunConfig):
        value = options.get(declared.keyword)
        if declared.is_file and value is not None and not _is_text(declared.field, value):
            options[declared.keyword] = located(folder, value)
    mask = options.pop("mask", None)
    if mask is not None:
        options["mask_model"] = mask.asked(_model(folder, mask.model))
    options["model"] = [_model(folder, name) for name in parse_models(options["model"])]
    return run_config_from(source=source, out=out, restart=restart, **options)


def _is_text(field: str, value: object) -> bool:
    """Return whether the value of an option that names files is a word of its own."""
    if field == "scaling":
        return not names_scaling_file(str(value))
    return value == OF_SOURCE if field == "measure" else value in TISSUES


def _model(folder: Path, name: str) -> str:
    """Return the path of a model beside the jobs file, else the name as it is."""
    return str(folder / name) if (folder / name).is_dir() else name


def _filled(
    file: JobsFile, line: int, pattern: str, fields: Mapping[str, str], folders: Mapping[str, str]
) -> str:
    """Return a pattern with its fields filled in."""
    try:
        names = [name for _, name, _, _ in Formatter().parse(pattern) if name is not None]
    except ValueError as error:
        raise file.error(line, f"out {pattern!r}: {error}") from error
    known = [*folders, *fields]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {{{near[0]}}}?" if near else f"known are {', '.join(known)}"
            raise file.error(line, f"out {pattern!r}: the field {{{name}}} is not known; {hint}")
        if name in fields and not fields[name]:
            raise file.error(line, f"out {pattern!r}: the field {{{name}}} is empty for this scene")
    safe = {name: _as_file_name(value) for name, value in fields.items()}
    is_url = is_address(pattern.replace("{results}", folders["results"]))
    safe = {name: escaped(value) for name, value in safe.items()} if is_url else safe
    return "".join(
        text + ({**folders, **safe}[name] if name is not None else "")
        for text, name, _, _ in Formatter().parse(pattern)
    )


def _as_file_name(value: str) -> str:
    """Return a value that cannot lead to another folder: names in lists are written by others.

    >>> _as_file_name("../../etc/passwd"), _as_file_name("T32/UMA 2020")
    ('.._.._etc_passwd', 'T32_UMA 2020')
    """
    name = re.sub(r"[/\\\x00-\x1f]", "_", value)
    return name if name.strip(".") else "_" * len(name)


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else shown_out(path)


def _check_outputs(file: JobsFile, jobs: Sequence[Job]) -> None:
    """Refuse output directories that are shared, or inside another, or hold the results folder."""
    by_path: dict[Path, Job] = {}
    for job in jobs:
        first = by_path.setdefault(same_place(job.config.out), job)
        if first is not job:
            msg = (
                f"{shown_name(job.config.source)} would be written to {job.name}, as "
                f"{shown_name(first.config.source)} of line "
                f"{first.line} is; let out name a field that differs, such as {{number}} or {{folder}}"
            )
            raise file.error(job.line, msg)
    is_url = address_of(file.results) is not None
    results = same_place(file.results) if is_url else file.results.resolve()
    mosaics: dict[str, Job] = {}
    for job in jobs:
        if job.mosaic is not None and mosaics.setdefault(job.config.source, job) is not job:
            other = mosaics[job.config.source]
            raise file.error(job.line, f"has the name of the mosaic of line {other.line}; give another name")
        parents = same_place(job.config.out).parents
        outer = next((by_path[parent] for parent in parents if parent in by_path), None)
        if outer is not None:
            msg = f"{job.name} lies inside {outer.name}, the output of line {outer.line}; give another out"
            raise file.error(job.line, msg)
        if same_place(job.config.out) in (results, *results.parents):
            where = shown_out(file.results) if is_url else str(results)
            msg = f"{job.name} is or holds the results folder {where}; give another out or results"
            raise file.error(job.line, msg)
