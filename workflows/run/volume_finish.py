"""What follows the computation on a volume: formats and a preview. No STAC item: a body is not on the Earth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import zarr

from segment_tiles.pipeline.accepted import DicomSegKind
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.outputs.masks.nifti_mask import write_nifti
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.pipeline.sources.versions.version import KnownVersion
from segment_tiles.pipeline.sources.volumes.voxel_copy import open_voxels
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.process_memory import release_freed_memory
from segment_tiles.workflows.regions.loaded_model import forget_segmenters
from segment_tiles.workflows.results.finished_report import finished_report, is_there
from segment_tiles.workflows.results.picture import try_preview
from segment_tiles.workflows.results.report import read_report, write_report
from segment_tiles.workflows.results.volume_formats import FILE_OF_VOLUME_FORMAT
from segment_tiles.workflows.results.volume_picture import write_volume_preview
from segment_tiles.workflows.run.taken_up import give_store_its_name
from segment_tiles.workflows.run.volume_average import remove_directions
from segment_tiles.workflows.run.volume_run import copy_source, remove_copy
from segment_tiles.workflows.scenes.scene import Scene
from segment_tiles.workflows.scenes.volume_scene import VolumeScene


class Stages(Protocol):
    """Who wants to know which stage begins."""

    def stage(self, name: str) -> None:
        """A stage begins."""
        ...

    def warn(self, text: str) -> None:
        """Something that the user should know."""
        ...


def is_volume_finished(directory: OutputDirectory, formats: Sequence[str]) -> bool:
    """Return whether a run on a volume came to its end here: its report is written last, and is complete."""
    if not directory.store.exists() or not directory.report.exists():
        return False
    report = read_report(directory)
    if report is None or "volume_unit" not in report:  # none, or the run of a raster
        return False
    is_complete = report.get("status") == "complete" and "report.json" in report.get("outputs", ())
    return is_complete and not missing_volume_results(directory, formats)


def missing_volume_results(directory: OutputDirectory, formats: Sequence[str]) -> list[str]:
    """Return the formats whose file is not in the output directory."""
    return [name for name in formats if not is_there(directory.path / FILE_OF_VOLUME_FORMAT[name])]


def finish_volume(
    config: RunConfig,
    scene: Scene,
    volume: VolumeScene,
    directory: OutputDirectory,
    report: dict[str, Any],
    stages: Stages,
    started: float,
    known: KnownVersion,
) -> dict[str, Any]:
    """Make everything that is not there yet, and return the report with outputs and times.

    Parameters
    ----------
    config, scene, volume
        Of the run.
    directory
        Where its store is, whole.
    report
        As it was after the computation, or after an earlier start that finished.
    stages
        Told of each stage.
    started
        ``perf_counter`` at the start of the run.
    known
        Version of the source, when this start began.

    Raises
    ------
    RunFailedError
        Where the source has changed meanwhile: the preview shows it, and nothing more is called complete.
    """
    begun = perf_counter()
    forget_segmenters()
    release_freed_memory()
    if not directory.store.exists():
        give_store_its_name(directory)
    remove_directions(volume, directory)
    group = open_store(directory.store)
    missing = missing_volume_results(directory, config.formats)
    make_volume_formats(directory, group, missing, stages, report, dicom_seg=config.dicom_seg)
    stages.stage("preview")

    def draw(path: Path) -> None:
        voxels = open_voxels(copy_source(scene, volume, directory))
        write_volume_preview(path, scene, volume, voxels, group, report)

    picture, notes = try_preview(directory, draw)
    for note in notes:
        stages.warn(note)
    remove_copy(directory)
    outputs = [*(FILE_OF_VOLUME_FORMAT[name] for name in config.formats), *picture, "report.json"]
    known.require_same(or_gone=True)
    report = finished_report(directory, report, outputs, notes, started=started, begun=begun)
    write_report(directory, report)
    return report


def make_volume_formats(
    directory: OutputDirectory,
    group: zarr.Group,
    formats: Sequence[str],
    stages: Stages,
    report: Mapping[str, Any],
    *,
    dicom_seg: DicomSegKind = "binary",
) -> list[str]:
    """Make these formats from a finished store and return the names of their files.

    The report tells the source, the model and the version of the program.

    Raises
    ------
    UsageError
        Where a format is not one of volumes, or cannot be made of this source.
    """
    for name in formats:
        if name not in FILE_OF_VOLUME_FORMAT:
            known = ", ".join(FILE_OF_VOLUME_FORMAT)
            msg = f"--format names {name}, but the result is a volume; choose of {known}"
            raise UsageError(msg)
    if "nifti" in formats:
        stages.stage("classes.nii.gz")
        write_nifti(group, directory.path / FILE_OF_VOLUME_FORMAT["nifti"])
    if "dicom-seg" in formats:
        stages.stage("classes.seg.dcm")
        # highdicom and its codecs are an extra
        from segment_tiles.pipeline.outputs.dicom.series import write_dicom_seg  # noqa: PLC0415

        write_dicom_seg(
            group,
            directory.path / FILE_OF_VOLUME_FORMAT["dicom-seg"],
            report["settings"]["source"],
            model=report["model"]["name"],
            version=report["version"],
            kind=dicom_seg,
        )
    return [FILE_OF_VOLUME_FORMAT[name] for name in formats]
