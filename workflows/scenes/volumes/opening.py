"""A volume and a model brought together: how it is cut into slices, and which of them are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.volume import ANATOMICAL_AXES, Slicing, VolumeSpec, box_in_view
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.outputs.stores.volume_store import VolumeGeometry, geometry_of
from segment_tiles.pipeline.sources.validity import nodata_as
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.slices import slice_spec
from segment_tiles.pipeline.sources.volumes.volume import read_volume_spec
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.config import RunConfig

DEFAULT_AXIS = "axial"
AXES = (*ANATOMICAL_AXES, "0", "1", "2", "all")
"""What ``--axis`` accepts."""


@dataclass(frozen=True, slots=True)
class Direction:
    """One way of cutting the volume: what is segmented of it, and where tiles lie on a slice."""

    slicing: Slicing
    """From stored axes to slices, rows and columns."""
    spec: RasterSpec
    """Of every slice."""
    lattice: Lattice
    """Over a whole slice."""
    slices: tuple[int, int]
    """First slice that is asked for, and the one after the last."""
    roi: Window
    """What is asked for of each slice."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the result."""
        first, stop = self.slices
        return stop - first, self.roi.height, self.roi.width


@dataclass(frozen=True, slots=True)
class VolumeScene:
    """What a run reads of a volume."""

    spec: VolumeSpec
    """Of the whole volume."""
    selection: Selection
    """Which part of a file of four dimensions."""
    neighbours: int
    """Slices on both sides that are bands too."""
    origin: tuple[int, int, int]
    """First stored voxel that is asked for."""
    box: tuple[int, int, int]
    """Stored voxels that are asked for."""
    directions: tuple[Direction, ...]
    """The result has the order of the first; with three, the scores of all are averaged."""

    @property
    def is_averaged(self) -> bool:
        """Whether scores of several directions become one result."""
        return len(self.directions) > 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the result."""
        return self.directions[0].shape

    def geometry(self, direction: Direction | None = None) -> VolumeGeometry:
        """Return where the result lies, or the scores of one direction."""
        slicing = (direction or self.directions[0]).slicing
        return geometry_of(self.spec, slicing, self.origin, self.box)


def open_volume(config: RunConfig, manifest: ModelManifest, tile: int, overlap: int) -> VolumeScene:
    """Read the header of a volume and check it against options and model.

    Raises
    ------
    SourceError, ModelError, UsageError
        If one of them does not fit the others.
    """
    _check_options(config)
    selection = Selection(config.view.t, config.bands)
    spec = read_volume_spec(config.source, selection)
    if config.nodata is not None:
        spec = replace(spec, nodata=nodata_as(spec.dtype, config.nodata))
    neighbours = config.neighbours
    if neighbours is None:
        neighbours = int(manifest.extra.get("neighbouring_slices", 0))
    origin, box = _box(config, spec)
    directions = []
    for axis in _axes(config.axis or DEFAULT_AXIS, spec):
        slicing = Slicing.along(axis, spec.affine)
        of_slice = slice_spec(spec, slicing, neighbours)
        slices, roi = box_in_view(slicing, spec.shape, origin, box)
        lattice = Lattice(of_slice.height, of_slice.width, tile, overlap, manifest.output.margin)
        directions.append(Direction(slicing, of_slice, lattice, slices, roi))
    _check_bands(config, manifest, directions[0].spec, neighbours)
    return VolumeScene(spec, selection, neighbours, origin, box, tuple(directions))


def _axes(asked: str, spec: VolumeSpec) -> list[int]:
    """Return anatomical axes; a number is the anatomical axis that this stored axis is closest to."""
    if asked == "all":
        return [ANATOMICAL_AXES["axial"], ANATOMICAL_AXES["coronal"], ANATOMICAL_AXES["sagittal"]]
    if asked in ANATOMICAL_AXES:
        return [ANATOMICAL_AXES[asked]]
    stored = int(asked)
    return [axis for axis in range(3) if Slicing.along(axis, spec.affine).order[0] == stored]


def _check_options(config: RunConfig) -> None:
    name = Path(config.source).name
    if config.level not in {None, 0}:
        msg = f"--level is {config.level}, but {name} is a volume, which has only level 0"
        raise UsageError(msg)
    for option, asked in (("--resolution", config.resolution), ("--grid", config.grid)):
        if asked not in {"model", None} or (asked is not None and option == "--grid"):
            msg = f"{option} is {asked}, but {name} is a volume, which is read slice by slice as it is; leave it out"
            raise UsageError(msg)
    view = config.view
    for option, value in (("--mpp", view.mpp), ("--source-mpp", view.source_mpp), ("--z", view.z)):
        if value is not None:
            msg = f"{option} is {value:g}, but {name} is a volume, which is read slice by slice as it is"
            raise UsageError(msg)
    if config.aoi is not None:
        msg = f"--aoi {config.aoi}: polygons cannot be laid on the volume {name}; give a box by --roi"
        raise UsageError(msg)
    if config.tissue not in {"auto", "off"}:
        msg = f"--tissue is {config.tissue!r}, but {name} is a volume, no stained slide; give a box by --roi"
        raise UsageError(msg)
    if config.alpha != "auto":
        msg = f"--alpha is {config.alpha}, but {name} is a volume, whose values have no alpha; leave it out"
        raise UsageError(msg)
    if config.axis is not None and config.axis not in AXES:
        msg = f"--axis is {config.axis!r}; it must be one of {', '.join(AXES)}"
        raise UsageError(msg)
    if config.neighbours is not None and config.neighbours < 0:
        msg = f"--neighbours is {config.neighbours}; it must be 0 or more slices on each side"
        raise UsageError(msg)


def _check_bands(config: RunConfig, manifest: ModelManifest, spec: RasterSpec, neighbours: int) -> None:
    if spec.bands == len(manifest.bands):
        return
    has = counted(spec.bands, "neighbouring slice is", "neighbouring slices are")
    if not neighbours:
        has = counted(spec.bands, "value per voxel is", "values per voxel are")
    msg = (
        f"{config.source}: {has} read, but model {manifest.name} takes {counted(len(manifest.bands), 'band')} "
        f"({', '.join(manifest.bands)}); slices enter as bands by --neighbours, volumes of a fourth axis by --bands"
    )
    raise ModelError(msg)


def _box(config: RunConfig, spec: VolumeSpec) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return first voxel and voxels of the box that is asked for; the whole volume if there is none.

    A voxel reaches half a step to both sides of its centre, which the affine names.
    """
    if config.roi is None:
        return (0, 0, 0), spec.shape
    if len(config.roi) != 6:
        msg = (
            f"--roi has {counted(len(config.roi), 'number')}, but {config.source} is a volume: give "
            "MINX,MINY,MINZ,MAXX,MAXY,MAXZ in millimetres (RAS+)"
        )
        raise UsageError(msg)
    inverse = np.linalg.inv(np.asarray(spec.affine))
    ends = list(zip(config.roi[:3], config.roi[3:], strict=True))
    corners = np.array([inverse @ (*corner, 1.0) for corner in product(*ends)])[:, :3] + 0.5
    edge = 1e-6  # a box drawn along voxel edges does not take in the next voxel by rounding
    first = np.clip(np.floor(corners.min(axis=0) + edge), 0, spec.shape).astype(int)
    stop = np.clip(np.ceil(corners.max(axis=0) - edge), 0, spec.shape).astype(int)
    if (stop <= first).any():
        msg = f"--roi {','.join(f'{v:.8g}' for v in config.roi)} lies outside the volume, which covers {_extent(spec)}"
        raise UsageError(msg)
    origin, size = first.tolist(), (stop - first).tolist()
    return (origin[0], origin[1], origin[2]), (size[0], size[1], size[2])


def _extent(spec: VolumeSpec) -> str:
    ends = [(-0.5, side - 0.5) for side in spec.shape]
    corners = np.array([np.asarray(spec.affine) @ (*corner, 1.0) for corner in product(*ends)])[:, :3]
    numbers = [*corners.min(axis=0), *corners.max(axis=0)]
    return ",".join(f"{value:.6g}" for value in numbers)


def spacing_warnings(scene: VolumeScene, manifest: ModelManifest, tolerance: float) -> list[str]:
    """Say where voxels are of another size than the model's pixels."""
    if manifest.pixel_size is None or manifest.pixel_unit != "millimeter":
        return []
    found = []
    for direction in scene.directions:
        _, down, across = direction.slicing.spacing_of(scene.spec.affine)
        size = math.sqrt(down * across)
        if max(size / manifest.pixel_size, manifest.pixel_size / size) > tolerance:
            found.append(
                f"{direction.slicing.name} pixels are {size:.3g} mm, but model {manifest.name} was trained at "
                f"{manifest.pixel_size:.3g} mm: structures look unlike those it knows"
            )
    return found
