"""What follows the computation: overviews, further formats, preview, STAC item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Protocol

import zarr

from segment_tiles.pipeline.accepted import DicomSegKind
from segment_tiles.pipeline.outputs.cog import write_cog
from segment_tiles.pipeline.outputs.stores.overviews import build_overviews
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.pipeline.sources.versions.version import KnownVersion
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.polygons.polygonize import polygonize, take_up_tiles
from segment_tiles.workflows.process_memory import release_freed_memory
from segment_tiles.workflows.regions.loaded_model import forget_segmenters
from segment_tiles.workflows.results.finished_report import finished_report, has_all_outputs, is_there
from segment_tiles.workflows.results.image_formats import FILE_OF_IMAGE_FORMAT, make_image_formats
from segment_tiles.workflows.results.item import write_run_item
from segment_tiles.workflows.results.picture import try_preview, write_run_preview
from segment_tiles.workflows.results.report import write_report
from segment_tiles.workflows.run.taken_up import give_store_its_name, is_store_kept
from segment_tiles.workflows.run.volume_finish import finish_volume, is_volume_finished
from segment_tiles.workflows.scenes.scene import Scene

FILE_OF_FORMAT: Mapping[str, str] = {
    "zarr": "classes.zarr",
    "cog": "classes.tif",
    "parquet": "polygons.parquet",
    "gpkg": "polygons.gpkg",
    "geojson": "polygons.geojson",
    "geojsonl": "polygons.geojsonl",
    "fgb": "polygons.fgb",
    "qupath": "polygons.qupath.geojson",
    "pmtiles": "polygons.pmtiles",
    **FILE_OF_IMAGE_FORMAT,
}
"""Name of each format in the output directory."""
RASTER_FORMATS = ("zarr", "cog", *FILE_OF_IMAGE_FORMAT)
VECTOR_TILE = 1024
"""Side of the tiles that are polygonised after a run: half of the default of ``polygonize``, because the network's
libraries are in memory too; the Features are the same for any."""


class Stages(Protocol):
    """Who wants to know which stage begins."""

    def stage(self, name: str) -> None:
        """A stage begins."""
        ...

    def warn(self, text: str) -> None:
        """Something that the user should know."""
        ...


def missing_results(directory: OutputDirectory, formats: Sequence[str]) -> list[str]:
    """Return the formats whose file is not in the output directory."""
    return [name for name in formats if not is_there(directory.path / FILE_OF_FORMAT[name])]


def is_finished(directory: OutputDirectory, formats: Sequence[str]) -> bool:
    """Return whether a run came to its end here, and its results are there still.

    ``item.json`` is what it writes last, but of a volume. Of the store, the sizes of all files are compared.
    """
    if not has_all_outputs(directory) or not is_store_kept(directory, sizes_only=True):
        return False
    if is_volume_finished(directory, formats):
        return True
    return is_there(directory.path / "item.json") and not missing_results(directory, formats)


def finish(
    config: RunConfig,
    scene: Scene,
    directory: OutputDirectory,
    report: dict[str, Any],
    stages: Stages,
    started: float,
    known: KnownVersion,
) -> dict[str, Any]:
    """Make everything that is not there yet, and return the report with outputs and times.

    Parameters
    ----------
    config, scene
        Of the run.
    directory
        Where its store is, whole but for overviews, or under its final name already.
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
    if scene.volume is not None:
        return finish_volume(config, scene, scene.volume, directory, report, stages, started, known)
    begun = perf_counter()
    forget_segmenters()
    release_freed_memory()
    if not directory.store.exists():
        stages.stage("overviews")
        build_overviews(open_store(directory.store_in_work, "r+"))
        give_store_its_name(directory)
    group = open_store(directory.store)
    missing = missing_results(directory, config.formats)
    notes = make_formats(
        directory,
        group,
        missing,
        report,
        stages,
        labels_inside=config.labels_inside,
        dicom_seg=config.dicom_seg,
    )
    release_freed_memory()
    stages.stage("preview")
    picture, cannot = try_preview(
        directory, lambda path: write_run_preview(path, scene, config, group, report)
    )
    notes += cannot
    for note in notes:
        stages.warn(note)
    outputs = [*(FILE_OF_FORMAT[name] for name in config.formats), *picture, "report.json", "item.json"]
    known.require_same(or_gone=True)
    report = finished_report(directory, report, outputs, notes, started=started, begun=begun)
    write_report(directory, report)
    stages.stage("item")
    write_run_item(directory, scene, report)
    return report


def make_formats(
    directory: OutputDirectory,
    group: zarr.Group,
    formats: Sequence[str],
    report: Mapping[str, Any],
    stages: Stages,
    *,
    labels_inside: bool = False,
    dicom_seg: DicomSegKind = "binary",
) -> list[str]:
    """Make these formats from a finished store and return what the user should know of them."""
    make_image_formats(
        directory.path,
        group,
        formats,
        report,
        stages.stage,
        labels_inside=labels_inside,
        dicom_seg=dicom_seg,
    )
    if "cog" in formats:
        stages.stage("classes.tif")
        counts = [entry["pixels"] for entry in report["classes"]]
        write_cog(group, directory.path / FILE_OF_FORMAT["cog"], pixel_counts=counts)
    vector_files = [directory.path / FILE_OF_FORMAT[name] for name in formats if name not in RASTER_FORMATS]
    take_up_tiles(directory.path, vector_files)
    if vector_files:
        release_freed_memory()
        stages.stage("polygons")
        made = polygonize(directory.store, vector_files, PolygonizeOptions(vector_tile=VECTOR_TILE))
        return list(made.notes)
    return []
