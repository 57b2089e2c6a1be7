"""Folders of pictures told as scenes, one for each picture, so that all else works on scenes alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.learning.folders.groups import PictureRow, picture_rows
from segment_tiles.pipeline.learning.folders.pairs import paired_files
from segment_tiles.pipeline.learning.picture_settings import PictureFolderSettings
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.learning.settings import TrainingSettings


def with_pictures_as_scenes(
    settings: TrainingSettings, data_folder: Path
) -> tuple[TrainingSettings, tuple[str, ...]]:
    """Return the settings with a scene for each picture, and notes for the user; others as they are.

    Raises
    ------
    TrainingError
        Pictures and masks are no pairs, or the table of groups does not fit them.
    """
    if not settings.pictures:
        return settings, ()
    scenes = list(settings.scenes)
    notes: list[str] = []
    for folder in settings.pictures:
        found, said = _scenes_of(folder, data_folder)
        scenes += found
        notes += said
    names = Counter(scene.name for scene in scenes)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        msg = f"two scenes are called {twice!r}; give the folders of pictures and the scenes different names"
        raise TrainingError(msg)
    return settings.model_copy(update={"scenes": tuple(scenes)}), tuple(notes)


def _scenes_of(
    folder: PictureFolderSettings, data_folder: Path
) -> tuple[list[SceneSettings], tuple[str, ...]]:
    pairs = paired_files(
        folder.name, data_folder / folder.images, data_folder / folder.labels, folder.label_ending
    )
    rows, notes = picture_rows(folder.groups, folder.name, list(pairs), data_folder)
    parts = _part_names(folder.name, rows)
    weights = _weights(folder, rows)
    return [
        SceneSettings(
            name=f"{folder.name}/{row.name}",
            raster=str(Path(folder.images) / pairs[row.name][0].name),
            labels=str(Path(folder.labels) / pairs[row.name][1].name),
            class_column=folder.class_column,
            class_values=folder.class_values,
            ignored_values=folder.ignored_values,
            unlabelled=folder.unlabelled,
            instances=folder.instances,
            bands=folder.bands,
            nodata=folder.nodata,
            weight=weight,
            use=_use(folder, row),
            folder=folder.name,
            part=parts[row.fold],
            told_as=f"{folder.name} {row.score_by}" if row.score_by else folder.name,
            pixel_size=row.pixel_size,
        )
        for row, weight in zip(rows, weights, strict=True)
        if row.fold not in folder.groups.aside
    ], notes


def _use(folder: PictureFolderSettings, row: PictureRow) -> Literal["train", "validate"]:
    return "validate" if row.fold in folder.groups.held_out else "train"


def _weights(folder: PictureFolderSettings, rows: Sequence[PictureRow]) -> list[float]:
    """Return how often windows come from each picture; all together are ``weight`` of the folder."""
    sizes = Counter(row.weight_by for row in rows)
    return [folder.weight / len(sizes) / sizes[row.weight_by] for row in rows]


def _part_names(folder: str, rows: Sequence[PictureRow]) -> dict[str, str]:
    """Return fold -> name by which it is left out, which is also part of the name of a folder."""
    names: dict[str, str] = {}
    for fold in sorted({row.fold for row in rows}):
        name = re.sub(r"[^\w.-]+", "-", f"{folder}-{fold}")
        if name in names.values():
            msg = f"pictures {folder}: two folds are called {name} without special characters; rename one"
            raise TrainingError(msg)
        names[fold] = name
    return names
