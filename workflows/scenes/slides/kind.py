"""The Kind of slides and OME images: rasters with a pyramid, read at the micrometres per pixel that a model wants."""

from __future__ import annotations

from typing import ClassVar, Final

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.sources.kinds import PYRAMIDS, kind_of
from segment_tiles.pipeline.sources.view import View
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.scenes.model_pixels import PIXEL_SIZE_TOLERANCE
from segment_tiles.workflows.scenes.rasters.kind import RasterKind
from segment_tiles.workflows.scenes.rasters.opening import open_plane, refuse_volume_options
from segment_tiles.workflows.scenes.scene import Models, Scene
from segment_tiles.workflows.scenes.slides.resolution import choose_resolution


class SlideKind(RasterKind):
    """What OpenSlide, tifffile or an OME reader opens, and pictures of which micrometres per pixel are said."""

    name: ClassVar[str] = "slide"
    usual_formats: ClassVar[tuple[str, ...]] = ("ome-zarr", "qupath")
    turn: ClassVar[int] = 2
    handles: ClassVar[int] = 1

    def recognises(self, uri: str, view: View) -> bool:
        """Return whether it has a pyramid of its own, or is read at micrometres per pixel."""
        return view.mpp is not None or view.source_mpp is not None or kind_of(uri) in PYRAMIDS

    def open(self, config: RunConfig, models: Models) -> Scene:
        """Open a slide at the resolution that is asked for, else that of the model."""
        refuse_volume_options(config)
        if config.alpha != "auto" and kind_of(config.source) in PYRAMIDS:
            msg = (
                f"--alpha is {config.alpha}, but {config.source} is a slide or microscope image, whose alpha is never "
                "read; leave it out"
            )
            raise UsageError(msg)
        resolution = choose_resolution(config, models.manifest, PIXEL_SIZE_TOLERANCE)
        return open_plane(self.name, config, models, resolution)

    def is_medical(self, scene: Scene) -> bool:
        """Return whether it is the file of a scanner, or measured in micrometres."""
        return kind_of(scene.uri) == "slide" or super().is_medical(scene)


SLIDE: Final = SlideKind()
