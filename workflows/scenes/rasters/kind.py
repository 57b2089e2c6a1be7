"""The Kind of rasters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import zarr

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.overviews import build_overviews, overview_shapes
from segment_tiles.pipeline.outputs.stores.store import array_of, create_store, open_store, read_georef
from segment_tiles.pipeline.sources.versions.version import KnownVersion
from segment_tiles.pipeline.sources.view import View
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.pixels import AskedMask
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.scenes.cut import Cut, Opener
from segment_tiles.workflows.scenes.kind import Extent, Kind, Shards, Sizes, WorkStore
from segment_tiles.workflows.scenes.model_pixels import model_mpp
from segment_tiles.workflows.scenes.rasters.areas import codes_of, store_of
from segment_tiles.workflows.scenes.rasters.bands import facts_of
from segment_tiles.workflows.scenes.rasters.describe import describe_raster
from segment_tiles.workflows.scenes.rasters.mask import raster_mask
from segment_tiles.workflows.scenes.rasters.opener import HANDLES_AT_MOST, RasterOpener
from segment_tiles.workflows.scenes.rasters.opening import (
    check_resolution,
    open_plane,
    refuse_volume_options,
)
from segment_tiles.workflows.scenes.rasters.report import mask_sizes, raster_classes, raster_source, read_as
from segment_tiles.workflows.scenes.rasters.resolution import raster_resolution
from segment_tiles.workflows.scenes.scene import Models, Scene


class RasterKind(Kind):
    """Whatever GDAL reads: one Cut of one plane."""

    name: ClassVar[str] = "raster"
    turn: ClassVar[int] = 3
    usual_formats: ClassVar[tuple[str, ...]] = ("cog", "parquet")
    takes_tuning: ClassVar[bool] = True
    is_placed: ClassVar[bool] = True
    handles: ClassVar[int] = HANDLES_AT_MOST
    """Handles of a source that a worker opens, at most."""

    def recognises(self, uri: str, view: View) -> bool:
        """Return True: what no other Kind knows is shown to GDAL, which says what is wrong with it."""
        return True

    def open(self, config: RunConfig, models: Models) -> Scene:
        """Open a raster for its facts."""
        refuse_volume_options(config)
        check_resolution(config)
        facts = cache(facts_of)
        resolution = raster_resolution(config, models.manifest, facts)
        return open_plane(self.name, config, models, resolution, facts)

    def mask_run(self, config: RunConfig, scene: Scene, asked: AskedMask) -> RunConfig:
        """Return the run of that model over the same source."""
        return raster_mask(config, scene, asked)

    def stores(self, scene: Scene, directory: OutputDirectory, *, with_scores: bool) -> list[WorkStore]:
        """Return the one store of the result."""
        create = partial(_create, scene, with_scores)
        return [WorkStore(directory.store_in_work, Ledger(directory.ledger), scene.roi.shape, create)]

    def cuts_in_work(
        self, scene: Scene, directory: OutputDirectory, known: KnownVersion, cache_mib: int
    ) -> tuple[Cut, ...]:
        """Return the Cut, read from the source itself."""

        def opened(opener: Opener, handles: int) -> RasterOpener:
            """Open this version of it."""
            own = cast("RasterOpener", opener)
            return replace(own, known=known, cache_mib=cache_mib, handles=handles)

        result, grid = scene.result, scene.result.result_grid
        opener = opened(result.opener, self.handles)
        grid = None if grid is None else replace(grid, opener=opened(grid.opener, 1))
        return (replace(result, opener=opener, result_grid=grid),)

    def count(self, scene: Scene, shards: Shards, directory: OutputDirectory) -> dict[str, Any]:
        """Return pixels and areas."""
        found = raster_classes(scene, shards, codes_of(directory))
        masks = (
            mask_sizes(scene.classes, scene.georef, shards, store_of(directory)) if scene.has_masks else {}
        )
        return {**found, **masks}

    def sizes(self, report: Mapping[str, Any]) -> Sizes:
        """Return pixels, and areas in their unit."""
        return Sizes("pixels", "area", f"area, {report['area_unit']}")

    def counts(self, report: Mapping[str, Any]) -> list[Any]:
        """Return pixels of the classes, and size and window of the source."""
        source = report["source"]
        pixels = [entry["pixels"] for entry in report["classes"]]
        return [*pixels, source["height"], source["width"], *source["window"]]

    def extent(self, scene: Scene) -> Extent:
        """Return rows and columns of the ROI."""
        return Extent(scene.roi.shape, scene.georef, scene.roi == scene.grid_spec.window)

    def stored_extent(self, group: zarr.Group, report: Mapping[str, Any]) -> Extent:
        """Return rows and columns, and whether the window is the whole raster."""
        source = report["source"]
        is_whole = source["window"] == [0, 0, source["height"], source["width"]]
        return Extent(array_of(group, "classes").shape, read_georef(group), is_whole)

    def facts(self, scene: Scene) -> dict[str, Any]:
        """Return bands, size, type and window."""
        return raster_source(scene)

    def complete_store(self, scene: Scene, directory: OutputDirectory, stage: Callable[[str], None]) -> None:
        """Add overviews, if it is not small."""
        stage("overviews")
        if overview_shapes(*scene.roi.shape):
            build_overviews(open_store(directory.store_in_work, "r+"))

    def formats_of(self, georef: GeoRef) -> str:
        """Return that of slides if pixels are measured in micrometres, else that of rasters."""
        return "slide" if georef.unit == "micrometer" else "raster"

    def picture(
        self,
        path: Path,
        scene: Scene,
        directory: OutputDirectory,
        group: zarr.Group,
        report: Mapping[str, Any],
    ) -> None:
        """Draw scene and class map side by side, decimated."""
        # brings Pillow, which only a picture needs
        from segment_tiles.workflows.scenes.rasters.picture import write_run_preview  # noqa: PLC0415

        write_run_preview(path, scene, directory, group, report)

    def remove_copies(self, directory: OutputDirectory) -> None:
        """Remove what was kept of the source for its picture."""
        Ledger(directory.ledger).forget_thumbnails()

    def describe(self, uri: str, level: int, view: View) -> dict[str, Any]:
        """Return size, bands, type, CRS and position."""
        return describe_raster(uri, level, view)

    def summary(self, scene: Scene) -> str:
        """Return name, size and type."""
        size = f"{scene.roi.height:,} x {scene.roi.width:,} px"
        return f"{shown_name(scene.uri)}, {size}, {scene.spec.dtype}{read_as(scene)}"

    def is_medical(self, scene: Scene) -> bool:
        """Return whether pixels are said in micrometres, or the model was trained on such pictures or on volumes."""
        return scene.georef.unit == "micrometer" or model_mpp(scene.manifest) is not None


def _create(scene: Scene, with_scores: bool, path: Path) -> None:
    create_store(
        path,
        scene.roi.shape,
        scene.georef,
        scene.classes,
        with_scores=with_scores,
        scored=scene.manifest.classes,
        masks=scene.mask_codes,
    )


RASTER: Final = RasterKind()
