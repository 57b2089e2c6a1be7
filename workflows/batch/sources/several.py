"""A run that is several: of every picture of a folder, or of every head of a model; there is one table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.pipeline.models.packages.manifest import ALL_HEADS
from segment_tiles.pipeline.names import is_there, shown_name
from segment_tiles.pipeline.sources.picture_names import is_picture, is_sidecar
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.batch.heads import head_names
from segment_tiles.workflows.batch.jobs import Job, each_head
from segment_tiles.workflows.buckets.address import address_of, escaped, on_this_disk, shown_out
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.check import check_output_folder
from segment_tiles.workflows.scenes.registry import recognised


@dataclass(frozen=True, slots=True)
class SeveralJobs:
    """The jobs of one command."""

    jobs: tuple[Job, ...]
    """One for each picture, sorted by name, and head; each writes into a folder of its own in ``--out``."""
    title: str
    """What the jobs are of."""
    note: str | None = None
    """What of a folder is left out."""


def several_jobs(config: RunConfig) -> SeveralJobs | None:
    """Return the jobs of a run whose source is a folder of pictures, or that is to map all heads of its model.

    Returns
    -------
    SeveralJobs or None
        None if it is one run. So it is if the folder is one source itself (a DICOM series, a Zarr store), or has no
        picture in it: the run then says what is wrong with it.

    Raises
    ------
    OutputError
        If the output directory cannot be written. A URL is not asked.
    ModelError, UsageError
        All heads are asked for, and there is no such model, or it has one output.
    """
    found = _folder_jobs(config)
    if found is not None or config.head != ALL_HEADS:
        return found
    config = replace(config, out=_checked(config.out))
    return SeveralJobs(each_head(Job(1, shown_out(config.out), config, 0)), shown_name(config.source))


def _checked(out: Path) -> Path:
    """Return the folder or URL of all results."""
    out = on_this_disk(out)
    if address_of(out) is not None:
        return out
    check_output_folder(out, "--out")
    return out.absolute()


def _folder_jobs(config: RunConfig) -> SeveralJobs | None:
    folder = Path(config.source)
    if not (is_there(config.source) and folder.is_dir()) or _is_one_source(config):
        return None
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    pictures = [entry for entry in entries if entry.is_file() and is_picture(entry.name)]
    if not pictures:
        return None
    out = _checked(config.out)
    is_url = address_of(out) is not None
    alike = Counter(_stem(picture) for picture in pictures)
    jobs: list[Job] = []
    heads_of = cache(head_names)
    for picture in pictures:
        name = _stem(picture) if alike[_stem(picture)] == 1 else picture.name
        of_picture = replace(
            config, source=str(picture.absolute()), out=out / (escaped(name) if is_url else name)
        )
        jobs.extend(each_head(Job(len(jobs) + 1, name, of_picture, 0), heads_of))
    return SeveralJobs(tuple(jobs), folder.absolute().name, _left_out(entries, pictures))


def _is_one_source(config: RunConfig) -> bool:
    try:
        recognised(config.source, config.view).describe(config.source, config.level or 0, config.view)
    except SegmentTilesError:  # its pictures are sources then; if there are none, the run says what is wrong
        return False
    return True


def _stem(picture: Path) -> str:
    """Return a name without its ending: ``scan`` of ``scan.nii.gz``."""
    stem = picture.stem
    return stem[:-4] if stem.lower().endswith(".nii") else stem


def _left_out(entries: list[Path], pictures: list[Path]) -> str | None:
    stems = {picture.stem for picture in pictures}
    files = [
        entry.name
        for entry in entries
        if entry.is_file() and entry not in pictures and not is_sidecar(entry.name)
    ]
    # a slide of MIRAX keeps its pixels in a folder of its name
    folders = [entry.name for entry in entries if entry.is_dir() and entry.name not in stems]
    parts = [
        f"{counted(len(names), what)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for names, what in ((files, "file that is no picture"), (folders, "folder"))
        if names
    ]
    return f"left out: {' and '.join(parts)}; a jobs file of `batch` lists any sources" if parts else None
