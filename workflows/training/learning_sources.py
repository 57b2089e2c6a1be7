"""What a training or an evaluation reads, and that it stays one version of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.learning.data.scenes import raster_of, resolve
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.sources.areas.vector_file import split_layer
from segment_tiles.pipeline.sources.versions.version import known_version
from segment_tiles.pipeline.vectors.rasters.class_raster import identifying_name, raster_name
from segment_tiles.workflows.training.evaluate_volume import probabilities_of

GO_ON = "put it back as it was and go on with --resume, or train anew with what is there now in another --out"
AGAIN = "start the same command again with what is there now"


class KnownSources:
    """Versions of all sources, taken before the first is opened.

    Parameters
    ----------
    names
        Path or URL of each, by what it is.
    remedy
        What the user can do about a source that has changed.
    """

    def __init__(self, names: Iterable[tuple[str, str]], remedy: str) -> None:
        self._known = {what: known_version(name, overviews=False, remedy=remedy) for what, name in names}

    def require_same(self) -> None:
        """Refuse to go on with sources that are not what they were.

        Raises
        ------
        SourceChangedError
            Naming the first.
        """
        for known in self._known.values():
            known.require_same()

    def as_text(self) -> dict[str, str]:
        """Return the version of each by what it is; of servers that tell nothing none."""
        return {
            what: json_text(known.before, sort_keys=True, indent=None)
            for what, known in self._known.items()
            if known.before is not None
        }


def sources_of_training(settings: TrainingSettings, data_folder: Path) -> KnownSources:
    """Return the rasters, volumes and labels of all scenes."""
    return KnownSources(_of_scenes(settings, data_folder), GO_ON)


def _of_scenes(settings: TrainingSettings, data_folder: Path) -> Iterator[tuple[str, str]]:
    for scene in settings.scenes:
        yield f"the raster of scene {scene.name}", raster_of(scene, data_folder)
        if scene.labels:
            yield from _of_codes(f"the labels of scene {scene.name}", resolve(scene.labels, data_folder))
        if scene.slices is not None:
            for label, path in scene.slices.label_probabilities.items():
                yield f"the probabilities of {label} of scene {scene.name}", resolve(path, data_folder)


def sources_of_evaluation(class_map: Path, truth: str) -> KnownSources:
    """Return the class map, and the file or files of the truth."""
    probabilities = [(f"the truth of {label}", path) for label, path in probabilities_of(truth).items()]
    truths = probabilities or _of_codes("the truth", truth)
    return KnownSources([*_of_codes("the class map", str(class_map)), *truths], AGAIN)


def sources_of_objects(scenes: Mapping[str, tuple[Path, Path]]) -> KnownSources:
    """Return map and truth of each scene, by its name."""
    names = [
        (f"the {what} of {scene}", str(path))
        for scene, pair in scenes.items()
        for what, path in zip(("map", "truth"), pair, strict=True)
    ]
    return KnownSources(names, AGAIN)


def _of_codes(what: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield what is read of a class raster, of the folder of a run or of a vector file; of a store what is scored."""
    codes = identifying_name(raster_name(str(split_layer(name)[0])))
    yield what, codes
    if Path(codes).name == "classes" and (confidence := Path(codes).with_name("confidence")).is_dir():
        yield f"the confidence of {what}", str(confidence)
