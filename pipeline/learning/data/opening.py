"""All scenes of a training, opened and alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.learning.data.scenes import LabelledScene
from segment_tiles.pipeline.learning.data.wanted import Shelf, WantedScene
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.wording import counted


def open_scenes(settings: TrainingSettings, data_folder: Path) -> list[LabelledScene]:
    """Open every scene and check that all have the same bands and type.

    Grey and colour pictures may be mixed: a scene of one band is told as three equal ones if others have three.

    Raises
    ------
    TrainingError
        The scenes differ in the number of bands or their type.
    """
    names = [c.name for c in settings.classes]
    shelf = Shelf()
    wanted = WantedScene.of(settings)
    scenes = [LabelledScene(scene, data_folder, names, wanted, shelf) for scene in settings.scenes]
    if {scene.spec.bands for scene in scenes} == {1, 3}:
        wanted = replace(wanted, repeats_grey=True)
        scenes = [
            LabelledScene(scene.settings, data_folder, names, wanted, shelf)
            if scene.spec.bands == 1
            else scene
            for scene in scenes
        ]
    first = scenes[0].spec
    for scene in scenes[1:]:
        spec = scene.spec
        if (spec.bands, spec.dtype) != (first.bands, first.dtype):
            msg = (
                f"scene {scene.settings.name} has {counted(spec.bands, 'band')} of {spec.dtype}, "
                f"{scenes[0].settings.name} has {first.bands} of {first.dtype}: all must be alike"
            )
            raise TrainingError(msg)
    return scenes
