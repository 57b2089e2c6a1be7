"""A raster and a model brought together: bands, ROI, sizes of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.grid_map import AxisMap, GridMap
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.rasters.facts import NOT_APPLIED
from segment_tiles.pipeline.sources.resampling.pixel_size import pixel_size
from segment_tiles.pipeline.sources.stacks.details import OTHER_UNITS
from segment_tiles.pipeline.sources.view import View
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.scenes.cut import Cut
from segment_tiles.workflows.scenes.model_pixels import PIXEL_SIZE_TOLERANCE, model_metres
from segment_tiles.workflows.scenes.rasters.bands import Facts, choose_bands, facts_of, opened_at
from segment_tiles.workflows.scenes.rasters.coarse import coarse_factor, coarse_lattice
from segment_tiles.workflows.scenes.rasters.opener import RasterOpener
from segment_tiles.workflows.scenes.rasters.result_grid import result_grid
from segment_tiles.workflows.scenes.rasters.thumbnail import thumbnail_grid
from segment_tiles.workflows.scenes.scene import Models, Scene, absolute_uri, type_warnings
from segment_tiles.workflows.scenes.tissue import find_tissue


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a source is read."""

    level: int
    """Level, if it is not resampled."""
    view: View
    """Micrometres or metres per pixel, plane and time point."""
    notes: tuple[str, ...] = ()
    """What the user should know."""


def refuse_volume_options(config: RunConfig) -> None:
    """Refuse options that only volumes have.

    Raises
    ------
    UsageError
        Naming the option.
    """
    if config.axis is not None or config.neighbours is not None:
        option = "--axis" if config.axis is not None else "--neighbours"
        name = shown_name(config.source)
        msg = f"{option} is given, but {name} is no volume (NIfTI, NRRD, DICOM series); leave it out"
        raise UsageError(msg)


def check_resolution(config: RunConfig) -> None:
    """Refuse both a level and micrometres per pixel.

    Raises
    ------
    UsageError
        Naming both.
    """
    if config.level is not None and config.view.mpp is not None:
        msg = f"--level {config.level} and --mpp {config.view.mpp:g} exclude each other; give one of them"
        raise UsageError(msg)


def open_plane(
    kind: str, config: RunConfig, models: Models, resolution: Resolution, facts: Facts = facts_of
) -> Scene:
    """Open a source of one plane, and check it against options and model.

    Raises
    ------
    SourceError, ModelError, UsageError
        If one of them does not fit the others.
    """
    opened = opened_at(resolution.level, resolution.view, facts)
    bands, spec, notes = choose_bands(config, models.manifest, opened)
    _refuse_other_units(notes, models.manifest)
    if models.manifest.scaling_used.values == "physical" and spec.scale_offsets:
        notes = tuple(note for note in notes if NOT_APPLIED not in note)
    mask, tissue_notes = find_tissue(config)
    opener = RasterOpener(
        absolute_uri(config.source), bands, config.nodata, config.nodata_rule, config.alpha,
        resolution.level, resolution.view,
    )  # fmt: skip
    return Scene(
        config.source,
        kind,
        (_cut(kind, config, models, spec, opener),),
        bands,
        models.manifest,
        models.folder,
        (
            *notes,
            *resolution.notes,
            *raster_warnings(spec, models.manifest),
            *tissue_notes,
            *_fine_notes(kind, config, models),
        ),
        resolution.level,
        resolution.view,
        mask,
    )


def _refuse_other_units(notes: Sequence[str], manifest: ModelManifest) -> None:
    """Refuse bands of which no one scale and offset makes physical values, if the model wants these."""
    found = next((note for note in notes if OTHER_UNITS in note), None)
    if found is not None and manifest.scaling_used.values == "physical":
        msg = f"{found}; model {manifest.name} wants physical values: choose files that have the same"
        raise UsageError(msg)


def _cut(kind: str, config: RunConfig, models: Models, spec: RasterSpec, opener: RasterOpener) -> Cut:
    """Return the one Cut of a plane, read by the opener with this spec."""
    coarser = coarse_factor(config, models) if kind == "raster" else 1
    lattice = coarse_lattice(models.lattice(spec), coarser)
    cut = Cut(
        kind,
        spec,
        lattice,
        spec.window,
        opener,
        result_grid=result_grid(config, opener, spec),
        coarser=coarser,
    )
    roi = roi_window(config.roi, cut.grid_spec)
    names = spec.band_names or models.manifest.bands
    shown = thumbnail_grid(cut.grid_spec, roi, names, _seen_from(cut)) if config.preview else None
    return replace(cut, roi=roi, thumbnail=shown)


def _fine_notes(kind: str, config: RunConfig, models: Models) -> tuple[str, ...]:
    """Say that the class pixels of a coarser output are made finer on a slide, whose Levels are what viewers align."""
    if kind == "raster" or config.grid != "model":
        return ()
    manifests = (models.manifest, *(manifest for _, manifest in models.companions))
    coarser = max(manifest.output.coarser for manifest in manifests)
    if coarser == 1:
        return ()
    return (
        f"--grid is model, but {shown_name(config.source)} is a slide: class pixels of {coarser} px are made finer, so "
        "that the map lies on its pixels",
    )


def _seen_from(cut: Cut) -> GridMap | None:
    """Return the map from the grid of the result to what is read, for a picture; None: they are one."""
    if cut.coarser > 1:
        own, read = cut.grid_spec, cut.spec
        factor = 1 / cut.coarser
        return GridMap(AxisMap(own.height, read.height, factor), AxisMap(own.width, read.width, factor))
    return None if cut.result_grid is None else cut.result_grid.map


def roi_window(roi: tuple[float, ...] | None, spec: RasterSpec) -> Window:
    """Return the pixels that a box in world coordinates touches; the whole raster if there is none.

    Raises
    ------
    UsageError
        If the box touches no pixel, or has three axes.
    """
    if roi is None:
        return spec.window
    if len(roi) != 4:
        msg = (
            f"--roi has {counted(len(roi), 'number')}, but the source is no volume: give MINX,MINY,MAXX,MAXY"
        )
        raise UsageError(msg)
    (low_x, low_y), (high_x, high_y) = spec.georef.from_user(np.array([roi[:2], roi[2:]]))
    edge = 1e-6  # a box drawn along pixel edges does not take in the next pixel by rounding
    row, column, row_stop, column_stop = spec.georef.pixel_box((low_x, low_y, high_x, high_y))
    box = Window.from_edges(
        math.floor(row + edge),
        math.floor(column + edge),
        math.ceil(row_stop - edge),
        math.ceil(column_stop - edge),
    ).intersect(spec.window)
    if box.is_empty:
        covered = spec.georef.bounds(spec.window)
        xs, ys = zip(
            *(~spec.georef.user_to_world @ corner for corner in (covered[:2], covered[2:])), strict=True
        )
        bounds = ", ".join(f"{value + 0.0:.8g}" for value in (min(xs), min(ys), max(xs), max(ys)))
        msg = f"--roi {','.join(f'{v:.8g}' for v in roi)} lies outside the raster, which covers {bounds}"
        raise UsageError(msg)
    return box


def raster_warnings(spec: RasterSpec, manifest: ModelManifest) -> list[str]:
    """Return what in a raster, or in an array in memory, as it is read is unlike what the model was trained on."""
    found = [*type_warnings(spec, manifest), *_physical_notes(spec, manifest)]
    sides, wanted = pixel_size(spec), model_metres(manifest)
    if sides is None or wanted is None:
        return found
    size = math.sqrt(sides[0] * sides[1])
    factor = max(size / wanted, wanted / size)
    if factor > PIXEL_SIZE_TOLERANCE:
        found.append(
            f"pixels are {size:.3g} m, but model {manifest.name} was trained at {wanted:.3g} m: "
            "objects look unlike those it knows"
        )
    return found


def _physical_notes(spec: RasterSpec, manifest: ModelManifest) -> list[str]:
    """Say that stored values are taken for physical ones, if nothing says what they measure."""
    if manifest.scaling_used.values != "physical" or spec.scale_offsets or spec.dtype.startswith("float"):
        return []
    return [
        f"model {manifest.name} wants physical values, but scale and offset of the bands, {spec.dtype}, are not "
        "known: their values are taken as they are; gdal_edit.py -scale S -offset O makes them known"
    ]
