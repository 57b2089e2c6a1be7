"""The notice on class maps of medical images, and which scenes get it."""

from __future__ import annotations

from typing import Final

from segment_tiles.workflows.scenes.registry import kind_named
from segment_tiles.workflows.scenes.scene import Scene

NOTICE: Final = "Class maps of medical images are for research use, not for diagnosis."


def notice_of(scene: Scene) -> dict[str, str]:
    """Return what the report says of the use of the map: of slides and volumes the notice, else nothing.

    A slide is known by its file, or by the micrometres of its pixels. A plain picture counts as one where the
    model was trained on slides or volumes, whose pixels are said in micrometres or millimetres.
    """
    return {"notice": NOTICE} if kind_named(scene.kind).is_medical(scene) else {}
