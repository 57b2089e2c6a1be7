"""The Kind of volumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import zarr

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store
from segment_tiles.pipeline.outputs.stores.volume_store import read_geometry
from segment_tiles.pipeline.sources.versions.version import KnownVersion
from segment_tiles.pipeline.sources.view import View
from segment_tiles.pipeline.sources.volumes.volume import volume_kind
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.scenes.cut import Cut
from segment_tiles.workflows.scenes.kind import Extent, Kind, Shards, Sizes, WorkStore
from segment_tiles.workflows.scenes.model_pixels import PIXEL_SIZE_TOLERANCE
from segment_tiles.workflows.scenes.scene import Models, Scene, absolute_uri, type_warnings
from segment_tiles.workflows.scenes.volumes.describe import describe_volume, volume_summary
from segment_tiles.workflows.scenes.volumes.memory import held_bytes
from segment_tiles.workflows.scenes.volumes.opener import SliceOpener
from segment_tiles.workflows.scenes.volumes.opening import (
    Direction,
    VolumeScene,
    open_volume,
    spacing_warnings,
)
from segment_tiles.workflows.scenes.volumes.report import mask_volumes, volume_classes, volume_source
from segment_tiles.workflows.scenes.volumes.stores import (
    copy_source,
    create_direction_store,
    create_result_store,
    direction_paths,
    remove_copy,
    remove_directions,
)


class VolumeKind(Kind):
    """NIfTI, NRRD and DICOM series: one Cut of many planes, or three whose scores are averaged."""

    name: ClassVar[str] = "volume"
    overlap_note: ClassVar[str] = "the array masks of classes.zarr has all"
    usual_formats: ClassVar[tuple[str, ...]] = ("nifti",)
    turn: ClassVar[int] = 1

    def recognises(self, uri: str, view: View) -> bool:
        """Return whether it is a volume by its name, or a series by its contents."""
        return volume_kind(uri) is not None

    def open(self, config: RunConfig, models: Models) -> Scene:
        """Read the header of a volume, and check it against options and model."""
        volume = open_volume(config, models.manifest, models.tile, models.overlap)
        spec = volume.directions[0].spec
        warnings = [
            *volume.spec.notes,
            *type_warnings(spec, models.manifest),
            *spacing_warnings(volume, models.manifest, PIXEL_SIZE_TOLERANCE),
        ]
        return Scene(
            config.source,
            self.name,
            tuple(_cut(config, volume, direction) for direction in volume.directions),
            config.bands or tuple(range(1, spec.bands + 1)),
            models.manifest,
            models.folder,
            tuple(warnings),
            details=volume,
        )

    def stores(self, scene: Scene, directory: OutputDirectory, *, with_scores: bool) -> list[WorkStore]:
        """Return the store of the result, and those of three directions."""
        volume = _of(scene)
        create = partial(create_result_store, scene, volume, with_scores)
        stores = [WorkStore(directory.store_in_work, Ledger(directory.ledger), volume.shape, create)]
        for direction in volume.directions if volume.is_averaged else ():
            paths = direction_paths(directory, direction.slicing.name)
            create = partial(create_direction_store, scene, volume, direction)
            stores.append(WorkStore(paths.store, Ledger(paths.ledger), direction.shape, create))
        return stores

    def settings(self, scene: Scene) -> dict[str, Any]:
        """Return directions, neighbours, time point and box."""
        volume = _of(scene)
        return {
            "--axis": [direction.slicing.name for direction in volume.directions],
            "--neighbours": volume.neighbours,
            "--t": volume.selection.t,
            "box": [*volume.origin, *volume.box],
        }

    def prepare(self, scene: Scene, directory: OutputDirectory, stage: Callable[[str], None]) -> None:
        """Copy the voxels beside the run: a compressed volume can only be read from its start."""
        stage("copy of the voxels")
        copy_source(scene, _of(scene), directory)

    def copied_bytes(self, scene: Scene) -> int:
        """Return the bytes of the copy, which is there until the end."""
        return _of(scene).spec.nbytes

    def cuts_in_work(
        self, scene: Scene, directory: OutputDirectory, known: KnownVersion, cache_mib: int
    ) -> tuple[Cut, ...]:
        """Return the Cuts, read from the copy."""
        voxels = directory.voxels.absolute()
        return tuple(
            replace(cut, opener=replace(cast("SliceOpener", cut.opener), voxels=voxels)) for cut in scene.cuts
        )

    def compose(self, scene: Scene, directory: OutputDirectory) -> None:
        """Average three directions."""
        # brings torch
        from segment_tiles.workflows.scenes.volumes.average import average_directions  # noqa: PLC0415

        average_directions(scene, _of(scene), directory)

    def count(self, scene: Scene, shards: Shards, directory: OutputDirectory) -> dict[str, Any]:
        """Return voxels and millilitres."""
        volume, table = _of(scene), scene.classes
        found = volume_classes(volume, table, shards)
        if not scene.has_masks:
            return found
        store = directory.store if directory.store.exists() else directory.store_in_work
        return {**found, **mask_volumes(volume, table, open_store(store))}

    def sizes(self, report: Mapping[str, Any]) -> Sizes:
        """Return voxels, and millilitres."""
        return Sizes("voxels", "volume_ml", "volume, ml")

    def counts(self, report: Mapping[str, Any]) -> list[Any]:
        """Return voxels of the classes."""
        return [entry["voxels"] for entry in report["classes"]]

    def extent(self, scene: Scene) -> Extent:
        """Return slices, rows and columns of the box."""
        volume = _of(scene)
        return Extent(volume.shape, scene.georef, volume.box == volume.spec.shape)

    def stored_extent(self, group: zarr.Group, report: Mapping[str, Any]) -> Extent:
        """Return slices, rows and columns, and whether the box is the whole volume."""
        shape = array_of(group, "classes").shape
        return Extent(shape, GeoRef.of_pixels(), read_geometry(group).is_whole)

    def remove_scores(self, scene: Scene, directory: OutputDirectory) -> None:
        """Remove the scores of directions that were averaged."""
        remove_directions(_of(scene), directory)

    def remove_copies(self, directory: OutputDirectory) -> None:
        """Remove the copy of the voxels."""
        remove_copy(directory)

    def facts(self, scene: Scene) -> dict[str, Any]:
        """Return the volume, the box of it, and how it was cut."""
        return volume_source(_of(scene), scene.uri)

    def picture(
        self,
        path: Path,
        scene: Scene,
        directory: OutputDirectory,
        group: zarr.Group,
        report: Mapping[str, Any],
    ) -> None:
        """Draw slices, evenly spread, beside the class map on them."""
        # brings Pillow, which only a picture needs
        from segment_tiles.pipeline.sources.volumes.voxel_copy import open_voxels  # noqa: PLC0415
        from segment_tiles.workflows.scenes.volumes.picture import write_volume_preview  # noqa: PLC0415

        volume = _of(scene)
        voxels = open_voxels(copy_source(scene, volume, directory))
        write_volume_preview(path, scene, volume, voxels, group, report)

    def describe(self, uri: str, level: int, view: View) -> dict[str, Any]:
        """Return voxels, spacing, orientation and slices."""
        return describe_volume(uri, view.t)

    def summary(self, scene: Scene) -> str:
        """Return name, size, directions and type."""
        return volume_summary(scene.uri, _of(scene))

    def is_medical(self, scene: Scene) -> bool:
        """Return True."""
        return True


def _of(scene: Scene) -> VolumeScene:
    assert isinstance(scene.details, VolumeScene), "the Scene was opened by another Kind"
    return scene.details


def _cut(config: RunConfig, volume: VolumeScene, direction: Direction) -> Cut:
    first, _ = direction.slices
    opener = SliceOpener(
        absolute_uri(config.source),
        volume.selection,
        volume.spec,
        direction.slicing,
        volume.neighbours,
        first,
        config.nodata_rule,
    )
    return Cut(
        direction.slicing.name,
        direction.spec,
        direction.lattice,
        direction.roi,
        opener,
        direction.shape[0],
        held_bytes(config.source, volume.spec, direction.slicing, volume.neighbours),
    )


VOLUME: Final = VolumeKind()
