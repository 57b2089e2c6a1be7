"""The stores of a run on a volume, and the copy of its voxels."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from segment_tiles.pipeline.outputs.finished_file import finished_file, write_failed
from segment_tiles.pipeline.outputs.stores.seals import (
    as_plain,
    from_plain,
    is_tree_kept,
    read_sealed,
    seals_of_tree,
    write_sealed,
)
from segment_tiles.pipeline.outputs.stores.volume_store import create_volume_store
from segment_tiles.pipeline.sources.volumes.voxel_copy import copy_voxels
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.scenes.scene import Scene
from segment_tiles.workflows.scenes.volumes.opening import Direction, VolumeScene

VOXELS_SEALS = "voxels.json"
"""Size and checksum of every file of the copy of the voxels."""
SCORES_CHUNK = 64
"""Side of a chunk of the scores of one direction: they are read across its slices, slab by slab."""


@dataclass(frozen=True, slots=True)
class DirectionPaths:
    """Where the scores of one direction lie until they are averaged."""

    store: Path
    ledger: Path


def direction_paths(directory: OutputDirectory, name: str) -> DirectionPaths:
    """Return store and ledger of one direction of an averaged run."""
    return DirectionPaths(directory.own / f"{name}.zarr", directory.own / f"ledger-{name}")


def create_result_store(scene: Scene, volume: VolumeScene, scores: bool, path: Path) -> None:
    """Create the store of the result."""
    create_volume_store(
        path,
        volume.geometry(),
        scene.classes,
        with_scores=scores,
        scored=scene.manifest.classes,
        masks=scene.mask_codes,
    )


def create_direction_store(scene: Scene, volume: VolumeScene, direction: Direction, path: Path) -> None:
    """Create the store of the scores of one direction, which will be averaged."""
    geometry, classes = volume.geometry(direction), scene.manifest.classes
    create_volume_store(path, geometry, classes, with_scores=True, chunk=SCORES_CHUNK)


def copy_source(scene: Scene, volume: VolumeScene, directory: OutputDirectory) -> Path:
    """Copy the voxels beside the run, unless an earlier start of it did, and return where they lie.

    A copy of which any file is not what was written is made again.

    Raises
    ------
    SourceError
        If the volume cannot be read.
    WriteFailedError
        If the disk is full or read-only.
    """
    seals = directory.own / VOXELS_SEALS
    found = read_sealed(seals)
    if found is not None and is_tree_kept(directory.voxels, from_plain(found["files"])):
        return directory.voxels
    seals.unlink(missing_ok=True)
    with finished_file(directory.voxels) as partial:
        copy_voxels(scene.uri, volume.selection, volume.spec, partial)
    try:
        write_sealed(seals, {"files": as_plain(seals_of_tree(directory.voxels))})
    except OSError as error:
        raise write_failed(seals, error) from error
    return directory.voxels


def remove_copy(directory: OutputDirectory) -> None:
    """Remove the copy of the voxels, when nothing needs it any more."""
    (directory.own / VOXELS_SEALS).unlink(missing_ok=True)
    shutil.rmtree(directory.voxels, ignore_errors=True)


def remove_directions(volume: VolumeScene, directory: OutputDirectory) -> None:
    """Remove the scores of the directions, when the result is whole."""
    if volume.is_averaged:
        for direction in volume.directions:
            paths = direction_paths(directory, direction.slicing.name)
            shutil.rmtree(paths.store, ignore_errors=True)
            shutil.rmtree(paths.ledger, ignore_errors=True)
