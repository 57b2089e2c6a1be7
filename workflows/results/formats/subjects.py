"""What formats would be made of: a run before it begins, or a finished one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.stores.store import array_of, read_class_table, read_georef
from segment_tiles.pipeline.outputs.stores.volume_store import is_volume_store, read_geometry
from segment_tiles.workflows.results.formats.format import FormatOptions, Subject

if TYPE_CHECKING:
    import zarr

    from segment_tiles.workflows.config import RunConfig
    from segment_tiles.workflows.scenes.scene import Scene


def subject_of_scene(config: RunConfig, scene: Scene) -> Subject:
    """Return the class map that a run will make."""
    volume = scene.volume
    return Subject(
        scene.uri,
        kind_of_scene(scene),
        scene.georef,
        scene.roi.shape if volume is None else volume.shape,
        scene.roi == scene.spec.window if volume is None else volume.box == volume.spec.shape,
        tuple(scene.spec.levels),
        scene.manifest.classes,
        scene.manifest.name,
        format_options(config),
    )


def format_options(config: RunConfig) -> FormatOptions:
    """Return what a run asks of some formats."""
    return FormatOptions(config.labels_inside, config.dicom_seg)


def kind_of_scene(scene: Scene) -> str:
    """Return the name of the Kind of a scene."""
    if scene.volume is not None:
        return "volume"
    return _plane_kind(scene.georef)


def subject_of_result(group: zarr.Group, report: Mapping[str, Any], options: FormatOptions) -> Subject:
    """Return the class map of a finished run, from its store and its report."""
    source = report["source"]
    if is_volume_store(group):
        kind, georef, is_whole = "volume", GeoRef.of_pixels(), read_geometry(group).is_whole
    else:
        georef = read_georef(group)
        kind = _plane_kind(georef)
        is_whole = source["window"] == [0, 0, source["height"], source["width"]]
    return Subject(
        report["settings"]["source"],
        kind,
        georef,
        array_of(group, "classes").shape,
        is_whole,
        tuple((rows, columns) for rows, columns in source.get("levels", ())),
        read_class_table(group),
        report["model"]["name"],
        options,
    )


def _plane_kind(georef: GeoRef) -> str:
    return "slide" if georef.unit == "micrometer" else "raster"
