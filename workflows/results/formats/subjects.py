"""What formats would be made of: a run before it begins, or a finished one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from segment_tiles.pipeline.outputs.stores.store import read_class_table
from segment_tiles.workflows.options.polygons import settings_in
from segment_tiles.workflows.results.formats.format import FormatOptions, Subject
from segment_tiles.workflows.scenes.registry import kind_named, kind_of_report

if TYPE_CHECKING:
    import zarr

    from segment_tiles.workflows.config import RunConfig
    from segment_tiles.workflows.scenes.scene import Scene


def subject_of_scene(config: RunConfig, scene: Scene) -> Subject:
    """Return the class map that a run will make."""
    kind = kind_named(scene.kind)
    extent = kind.extent(scene)
    return Subject(
        scene.uri,
        kind.formats_of(extent.georef),
        extent.georef,
        extent.shape,
        extent.is_whole,
        tuple(scene.spec.levels),
        scene.classes,
        scene.manifest.name,
        format_options(config),
        config.scores,
    )


def format_options(config: RunConfig) -> FormatOptions:
    """Return what a run asks of some formats."""
    return FormatOptions(config.labels_inside, config.dicom_seg, settings_in(config))


def subject_of_result(group: zarr.Group, report: Mapping[str, Any], options: FormatOptions) -> Subject:
    """Return the class map of a finished run, from its store and its report."""
    kind = kind_of_report(report)
    extent = kind.stored_extent(group, report)
    table = read_class_table(group) if options.decided is None else options.decided.table
    table = table if options.reclass is None else options.reclass.table
    return Subject(
        report["settings"]["source"],
        kind.formats_of(extent.georef),
        extent.georef,
        extent.shape,
        extent.is_whole,
        tuple((rows, columns) for rows, columns in report["source"].get("levels", ())),
        table,
        report["model"]["name"],
        options,
        "scores" in group,
    )
