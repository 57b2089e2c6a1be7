"""How the end of a run differs by the kind of its source: overviews, picture, and what is thrown away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import zarr

from segment_tiles.pipeline.outputs.stores.overviews import build_overviews
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.pipeline.sources.volumes.voxel_copy import open_voxels
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.results.picture import write_run_preview
from segment_tiles.workflows.results.volume_picture import write_volume_preview
from segment_tiles.workflows.run.volume_average import remove_directions
from segment_tiles.workflows.run.volume_run import copy_source, remove_copy
from segment_tiles.workflows.scenes.scene import Scene
from segment_tiles.workflows.scenes.volume_scene import VolumeScene


class Ending(Protocol):
    """The end of a run on one kind of source."""

    @property
    def is_placed(self) -> bool:
        """Whether a catalogue can hold the result (a STAC item): a body is not on the Earth."""
        ...

    def complete_store(self, stage: Callable[[str], None]) -> None:
        """Add to the store in work what is made of its class map alone."""
        ...

    def remove_intermediates(self) -> None:
        """Remove what only the computation needed."""
        ...

    def draw(self, path: Path, group: zarr.Group, report: Mapping[str, Any]) -> None:
        """Draw the preview.

        Raises
        ------
        SourceError, ReadFailedError
            If the source cannot be read.
        """
        ...

    def remove_copies(self) -> None:
        """Remove what the preview was the last to need."""
        ...


@dataclass(frozen=True, slots=True)
class RasterEnding:
    """Of a raster or a slide."""

    config: RunConfig
    scene: Scene
    directory: OutputDirectory
    is_placed: bool = True

    def complete_store(self, stage: Callable[[str], None]) -> None:
        """Add overviews."""
        stage("overviews")
        build_overviews(open_store(self.directory.store_in_work, "r+"))

    def remove_intermediates(self) -> None:
        """Nothing: there is only the store."""

    def draw(self, path: Path, group: zarr.Group, report: Mapping[str, Any]) -> None:
        """Draw scene and class map side by side."""
        write_run_preview(path, self.scene, self.config, group, report)

    def remove_copies(self) -> None:
        """Nothing: the source is read where it lies."""


@dataclass(frozen=True, slots=True)
class VolumeEnding:
    """Of a volume: no overviews, and a montage of slices."""

    scene: Scene
    volume: VolumeScene
    directory: OutputDirectory
    is_placed: bool = False

    def complete_store(self, stage: Callable[[str], None]) -> None:
        """Nothing: slices are small."""

    def remove_intermediates(self) -> None:
        """Remove the scores of directions that were averaged."""
        remove_directions(self.volume, self.directory)

    def draw(self, path: Path, group: zarr.Group, report: Mapping[str, Any]) -> None:
        """Draw some slices beside the class map on them."""
        voxels = open_voxels(copy_source(self.scene, self.volume, self.directory))
        write_volume_preview(path, self.scene, self.volume, voxels, group, report)

    def remove_copies(self) -> None:
        """Remove the copy of the voxels."""
        remove_copy(self.directory)


def ending_of(config: RunConfig, scene: Scene, directory: OutputDirectory) -> Ending:
    """Return the end of a run on this scene."""
    if scene.volume is None:
        return RasterEnding(config, scene, directory)
    return VolumeEnding(scene, scene.volume, directory)
