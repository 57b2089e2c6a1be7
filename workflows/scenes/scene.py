"""A source and a model brought together: checked against each other before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.ground import ground_of, metres_of_unit
from segment_tiles.pipeline.grid.lattice import Lattice, overlap_pixels
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.models.agreement import check_members
from segment_tiles.pipeline.models.packages.item_fields import LARGEST_SIDE
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.sources.areas.tissue import TissueMask
from segment_tiles.pipeline.sources.kinds import kind_of
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.view import WHOLE, View
from segment_tiles.pipeline.sources.volumes.volume import volume_kind
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.scenes.scene_bands import choose_bands
from segment_tiles.workflows.scenes.slide_scene import choose_resolution, find_tissue
from segment_tiles.workflows.scenes.volume_scene import Direction, VolumeScene, open_volume, spacing_warnings

PIXEL_SIZE_TOLERANCE = 1.5
"""Factor between the pixel sizes of model and raster above which the user is warned."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a run reads and with which model, resolved."""

    uri: str = field(repr=False)  # may hold secrets
    """Path or URL."""
    spec: RasterSpec
    """Of the bands that are read."""
    bands: tuple[int, ...]
    """1-based bands of the file, in the order of the model."""
    roi: Window
    """What is asked for, in pixels; the result has its shape."""
    lattice: Lattice
    """Over the whole raster."""
    manifest: ModelManifest
    """Of the model."""
    model_folder: Path
    """Where its package is."""
    warnings: tuple[str, ...] = ()
    """What the user should know before trusting the map."""
    level: int = 0
    """Level of the source that is read."""
    view: View = WHOLE
    """Micrometres per pixel at which it is read, plane and time point."""
    tissue: TissueMask | Path | None = None
    """What limits a run on a slide to tissue."""
    volume: VolumeScene | None = None
    """Of a volume, whose slices are segmented; spec, roi and lattice are then those of its first direction."""
    companions: tuple[tuple[Path, ModelManifest], ...] = ()
    """Packages of further models that make one ensemble with it."""

    @property
    def georef(self) -> GeoRef:
        """Georeference of the result."""
        return self.spec.georef.of_window(self.roi)


def source_of(scene: Scene, config: RunConfig) -> Source:
    """Open the raster of a scene as its run reads it.

    Raises
    ------
    SourceError
        Where it cannot be opened.
    """
    return open_source(
        scene.uri,
        bands=scene.bands,
        nodata=config.nodata,
        nodata_rule=config.nodata_rule,
        alpha=config.alpha,
        level=scene.level,
        view=scene.view,
    )


def open_scene(config: RunConfig) -> Scene:
    """Open source and model, and check one against the other.

    Raises
    ------
    SourceError, ModelError, UsageError
        Where one of them is missing, damaged, or does not fit the other.
    """
    folder = find_model(config.model)
    manifest = load_manifest(folder)
    companions = companions_of(config, manifest)
    if volume_kind(config.source) is not None:
        return replace(_volume_scene(config, folder, manifest), companions=companions)
    if config.axis is not None or config.neighbours is not None:
        option = "--axis" if config.axis is not None else "--neighbours"
        msg = f"{option} is given, but {config.source} is no volume (NIfTI, NRRD, DICOM series); leave it out"
        raise UsageError(msg)
    if config.alpha != "auto" and kind_of(config.source) != "raster":
        msg = (
            f"--alpha is {config.alpha}, but {config.source} is a slide or microscope image, whose alpha is never "
            "read; leave it out"
        )
        raise UsageError(msg)
    resolution = choose_resolution(config, manifest, PIXEL_SIZE_TOLERANCE)
    config = replace(config.with_view(resolution.view), level=resolution.level)
    bands, spec, notes = choose_bands(config, manifest)
    tile, overlap = tiling(config, manifest)
    tissue, tissue_notes = find_tissue(config)
    return Scene(
        config.source,
        spec,
        bands,
        roi_window(config.roi, spec),
        Lattice(spec.height, spec.width, tile, overlap),
        manifest,
        folder,
        (*notes, *resolution.notes, *raster_warnings(spec, manifest), *tissue_notes),
        resolution.level,
        resolution.view,
        tissue,
        companions=companions,
    )


def companions_of(config: RunConfig, manifest: ModelManifest) -> tuple[tuple[Path, ModelManifest], ...]:
    """Return the further models of an ensemble, which agree with the first.

    Raises
    ------
    ModelError, UsageError
        If one of them does not.
    """
    folders = [find_model(name) for name in config.companions]
    manifests = [load_manifest(folder) for folder in folders]
    check_members([manifest, *manifests])
    for other in manifests:
        tiling(config if config.tile else replace(config, tile=manifest.tile), other)
    return tuple(zip(folders, manifests, strict=True))


def direction_scene(scene: Scene, direction: Direction) -> Scene:
    """Return the slices of one direction of a volume as a scene of their own."""
    return replace(scene, spec=direction.spec, roi=direction.roi, lattice=direction.lattice)


def _volume_scene(config: RunConfig, folder: Path, manifest: ModelManifest) -> Scene:
    tile, overlap = tiling(config, manifest)
    volume = open_volume(config, manifest, tile, overlap)
    first = volume.directions[0]
    warnings = [
        *volume.spec.notes,
        *_type_warnings(first.spec, manifest),
        *spacing_warnings(volume, manifest, PIXEL_SIZE_TOLERANCE),
    ]
    bands = config.bands or tuple(range(1, first.spec.bands + 1))
    return Scene(
        config.source, first.spec, bands, first.roi, first.lattice, manifest, folder, tuple(warnings),
        volume=volume,
    )  # fmt: skip


def tiling(config: RunConfig, manifest: ModelManifest) -> tuple[int, int]:
    """Return tile side and overlap in pixels.

    Raises
    ------
    UsageError
        If they do not fit the model.
    """
    tile = manifest.tile if config.tile is None else config.tile
    if not 1 <= tile <= LARGEST_SIDE:
        msg = f"--tile is {str(tile)[:20]}; give the side of a tile in pixels, such as {manifest.tile}"
        raise UsageError(msg)
    if tile % manifest.architecture.output_stride:
        msg = (
            f"--tile is {tile}; it must be a multiple of {manifest.architecture.output_stride}, "
            f"the output stride of model {manifest.name}"
        )
        raise UsageError(msg)
    fraction = manifest.overlap if config.overlap is None else config.overlap
    return tile, overlap_pixels(tile, fraction, manifest.architecture.output_stride)


def roi_window(roi: tuple[float, ...] | None, spec: RasterSpec) -> Window:
    """Return the pixels that a box in world coordinates touches; the whole raster where there is none.

    Raises
    ------
    UsageError
        Where the box touches no pixel, or has three axes.
    """
    if roi is None:
        return spec.window
    if len(roi) != 4:
        msg = (
            f"--roi has {counted(len(roi), 'number')}, but the source is no volume: give MINX,MINY,MAXX,MAXY"
        )
        raise UsageError(msg)
    (low_x, low_y), (high_x, high_y) = spec.georef.placed(np.array([roi[:2], roi[2:]]))
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
            *(~spec.georef.from_words @ corner for corner in (covered[:2], covered[2:])), strict=True
        )
        bounds = ", ".join(f"{value + 0.0:.8g}" for value in (min(xs), min(ys), max(xs), max(ys)))
        msg = f"--roi {','.join(f'{v:.8g}' for v in roi)} lies outside the raster, which covers {bounds}"
        raise UsageError(msg)
    return box


def _type_warnings(spec: RasterSpec, manifest: ModelManifest) -> list[str]:
    if spec.dtype == manifest.dtype:
        return []
    return [
        f"the raster is {spec.dtype}, but model {manifest.name} was trained on {manifest.dtype} values: "
        "its mean and standard deviation are applied as they are, so the map may be poor"
    ]


def raster_warnings(spec: RasterSpec, manifest: ModelManifest) -> list[str]:
    """Return what in a raster is unlike what the model was trained on."""
    found = _type_warnings(spec, manifest)
    size = _pixel_size_metres(spec)
    if size is not None and manifest.pixel_size is not None and manifest.pixel_unit == "m":
        factor = max(size / manifest.pixel_size, manifest.pixel_size / size)
        if factor > PIXEL_SIZE_TOLERANCE:
            found.append(
                f"pixels are {size:.3g} m, but model {manifest.name} was trained at {manifest.pixel_size:.3g} m: "
                "objects look unlike those it knows"
            )
    return found


def _pixel_size_metres(spec: RasterSpec) -> float | None:
    """Side of a pixel on the ground at the centre of the raster, or None without a CRS."""
    crs, ground = spec.georef.crs, ground_of(spec.georef)
    if crs is None:
        return None
    if ground is None:
        return math.sqrt(spec.georef.pixel_area) * (metres_of_unit(crs) or 1.0)
    area = float(ground.pixel_areas(spec.georef, [Window(spec.height // 2, spec.width // 2, 1, 1)])[0])
    return math.sqrt(area) if area > 0 else None
