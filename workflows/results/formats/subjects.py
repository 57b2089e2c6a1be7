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

    from segment_tiles.pipeline.outputs.warped_map import WarpedGrid
    from segment_tiles.workflows.config import RunConfig
    from segment_tiles.workflows.scenes.kind import Extent
    from segment_tiles.workflows.scenes.scene import Scene


def subject_of_scene(config: RunConfig, scene: Scene) -> Subject:
    """Return the class map that a run will make."""
    kind = kind_named(scene.kind)
    extent = kind.extent(scene)
    options = format_options(config)
    return Subject(
        scene.uri,
        kind.formats_of(extent.georef),
        extent.georef,
        extent.shape,
        extent.is_whole,
        tuple(scene.spec.levels),
        scene.classes,
        scene.manifest.name,
        options,
        config.scores,
        scene.has_masks,
        _warped(options, extent),
    )


def format_options(config: RunConfig) -> FormatOptions:
    """Return what a run asks of some formats."""
    return FormatOptions(
        config.labels_inside, config.dicom_seg, settings_in(config), map_grid=config.map_grid
    )


def _warped(options: FormatOptions, extent: Extent) -> WarpedGrid | None:
    """Return the other grid that is asked for, looked at; None if the map lies there."""
    asked = options.map_grid
    if asked is None:
        return None
    # brings rasterio, which most requests that are refused do without
    from segment_tiles.pipeline.outputs.warped_map import warped_grid  # noqa: PLC0415

    rows, columns = extent.shape[-2:]
    found = warped_grid(
        extent.georef, (rows, columns), crs=asked.crs, like=asked.like, by_mode=asked.warp == "mode"
    )
    is_there = (found.georef.transform, found.shape) == (extent.georef.transform, (rows, columns))
    return None if is_there and found.georef.crs == extent.georef.crs else found


def subject_of_result(group: zarr.Group, report: Mapping[str, Any], options: FormatOptions) -> Subject:
    """Return the class map of a finished run, from its store and its report."""
    kind = kind_of_report(report)
    extent = kind.stored_extent(group, report)
    table = read_class_table(group) if options.decided is None else options.decided.table
    table = table if options.reclass is None else options.reclass.table_after(table)
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
        "masks" in group,
        _warped(options, extent),
    )
