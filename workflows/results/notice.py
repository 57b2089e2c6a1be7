"""The notice on class maps of medical images, and which scenes get it."""

from __future__ import annotations

from typing import Final

from segment_tiles.pipeline.sources.kinds import kind_of
from segment_tiles.workflows.scenes.scene import Scene
from segment_tiles.workflows.scenes.slide_scene import model_mpp

NOTICE: Final = "Class maps of medical images are for research use, not for diagnosis."


def notice_of(scene: Scene) -> dict[str, str]:
    """Return what the report says of the use of the map: of slides and volumes the notice, else nothing.

    A slide is known by its file, or by the micrometres of its pixels. A plain picture counts as one where the
    model was trained on slides or volumes, whose pixels are said in micrometres or millimetres.
    """
    is_slide = kind_of(scene.uri) == "slide" or scene.georef.unit == "micrometer"
    if scene.volume is not None or is_slide or model_mpp(scene.manifest) is not None:
        return {"notice": NOTICE}
    return {}
