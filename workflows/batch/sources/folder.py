"""A folder of pictures as the source of a run: every picture is a job of its own, and there is one table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.pipeline.sources.picture_names import is_picture, is_sidecar
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.batch.jobs import Job
from segment_tiles.workflows.buckets.address import address_of, escaped, on_this_disk
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.check import check_output_folder
from segment_tiles.workflows.scenes.registry import recognised


@dataclass(frozen=True, slots=True)
class FolderJobs:
    """The pictures of a folder as jobs."""

    jobs: tuple[Job, ...]
    """One for each picture, sorted by name; each writes into a folder of its own in ``--out``."""
    note: str | None
    """What of the folder is left out."""


def folder_jobs(config: RunConfig) -> FolderJobs | None:
    """Return the jobs of a run whose source is a folder of pictures.

    Returns
    -------
    FolderJobs or None
        None if the source is no folder, is one source itself (a DICOM series, a Zarr store), or has no picture in it:
        the run then says what is wrong with it.

    Raises
    ------
    OutputError
        If the output directory cannot be written. A URL is not asked.
    """
    folder = Path(config.source)
    if not folder.is_dir() or _is_one_source(config):
        return None
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    pictures = [entry for entry in entries if entry.is_file() and is_picture(entry.name)]
    if not pictures:
        return None
    out = on_this_disk(config.out)
    is_url = address_of(out) is not None
    if not is_url:
        check_output_folder(out, "--out")
        out = out.absolute()
    alike = Counter(_stem(picture) for picture in pictures)
    jobs = []
    for number, picture in enumerate(pictures, 1):
        name = _stem(picture) if alike[_stem(picture)] == 1 else picture.name
        of_picture = replace(
            config, source=str(picture.absolute()), out=out / (escaped(name) if is_url else name)
        )
        jobs.append(Job(number, name, of_picture, 0))
    return FolderJobs(tuple(jobs), _left_out(entries, pictures))


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
