"""What the user should know of the data of a training before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from segment_tiles.pipeline.learning.data.scenes import LabelledScene
from segment_tiles.pipeline.learning.data.survey import Survey
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.learning.training.validation import HELD_AT_MOST, ValidationArea
from segment_tiles.pipeline.wording import counted

NOTES_OF_PICTURES: Final = 5
"""Notes on single pictures that are told; a folder may have a thousand."""
AREAS_NAMED: Final = 3
"""Held-out areas that a note names."""


def notes_on(scenes: Sequence[LabelledScene]) -> list[str]:
    """Return what was found in rasters and labels; of many pictures the first notes."""
    notes = [note for scene in scenes if not scene.settings.folder for note in scene.notes]
    of_pictures = [note for scene in scenes if scene.settings.folder for note in scene.notes]
    notes += of_pictures[:NOTES_OF_PICTURES]
    if len(of_pictures) > NOTES_OF_PICTURES:
        notes.append(f"there are {counted(len(of_pictures) - NOTES_OF_PICTURES, 'more note')} on pictures")
    if grey := sum(scene.is_grey_told_thrice for scene in scenes):
        notes.append(f"{counted(grey, 'scene')} of one band told as three equal ones")
    return notes


def notes_on_objects(survey: Survey, settings: TrainingSettings) -> list[str]:
    """Return how many objects are border alone, if there are such."""
    if not survey.objects_lost or settings.borders is None:
        return []
    return [
        f"{survey.objects_lost:,} of {counted(survey.objects, 'object')} have no pixel that is no border, so nothing "
        f"of them is learnt; borders.width is {settings.borders.width}"
    ]


def notes_on_unlabelled_classes(survey: Survey, settings: TrainingSettings) -> list[str]:
    """Return which classes no pixel is labelled as, if there are such."""
    without = [one.name for one, pixels in zip(settings.classes, survey.pixels, strict=True) if not pixels]
    if not without:
        return []
    return [
        f"no training pixel is labelled {' or '.join(without)}, so nothing of it is learnt; if it is what lies outside "
        "all labels, say so: unlabelled: CLASS"
    ]


def notes_on_large_areas(areas: Sequence[ValidationArea]) -> list[str]:
    """Return which held-out areas are too large for their objects to be scored at the end, if there are such."""
    large = [area.name for area in areas if area.is_too_large_for_objects]
    if not large:
        return []
    shown = ", ".join(large[:AREAS_NAMED]) + (", ..." if len(large) > AREAS_NAMED else "")
    return [
        f"objects of {counted(len(large), 'held-out area')} ({shown}) are not scored at the end of the training: more "
        f"than {HELD_AT_MOST / 1e6:.0f} Mpx are not held at once; map them and score the maps by evaluate --objects"
    ]
