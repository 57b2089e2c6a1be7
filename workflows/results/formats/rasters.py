"""The class map as rasters that GIS tools open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.outputs.cog import write_cog
from segment_tiles.workflows.results.formats.format import Format, Subject, Work


def _keep(_work: Work, _formats: Sequence[Format]) -> Sequence[str]:
    """Make nothing: the store is there before any format."""
    return ()


def _make_cog(work: Work, _formats: Sequence[Format]) -> Sequence[str]:
    write_cog(work.group, work.folder / COG.file, pixel_counts=work.pixel_counts)
    return ()


def _make_confidence(work: Work, _formats: Sequence[Format]) -> Sequence[str]:
    work.stage(CONFIDENCE.file)
    write_cog(work.group, work.folder / CONFIDENCE.file, name="confidence")
    return ()


def _check_scores(subject: Subject) -> None:
    """Refuse scores that a run does not keep, or has not kept."""
    if not subject.has_scores:
        msg = (
            "--format names scores, the probabilities of all classes, which a run keeps only with --scores; add "
            "--scores (a run that has finished without: run again with --scores --restart)"
        )
        raise UsageError(msg)


def _make_scores(work: Work, _formats: Sequence[Format]) -> Sequence[str]:
    work.stage(SCORES.file)
    write_cog(work.group, work.folder / SCORES.file, name="scores")
    return ()


def _check_masks(subject: Subject) -> None:
    """Refuse masks of classes that exclude each other."""
    if not subject.has_masks:
        msg = (
            f"--format names masks, a band for each class that may overlap others, but the classes of model "
            f"{subject.model} exclude each other; use cog, which has them all"
        )
        raise UsageError(msg)


def _make_masks(work: Work, _formats: Sequence[Format]) -> Sequence[str]:
    work.stage(MASKS.file)
    write_cog(work.group, work.folder / MASKS.file, name="masks")
    return ()


_COG_TYPE: Final = "image/tiff; application=geotiff; profile=cloud-optimized"

ZARR: Final = Format(
    "zarr",
    "classes.zarr",
    ("raster", "slide", "volume"),
    _keep,
    title="Class map and confidence, with overviews",
    media_type="application/vnd.zarr; version=3; profile=multiscales",
    key="classes-zarr",
    is_class_raster=True,
    has_map_classes=False,
)
COG: Final = Format(
    "cog",
    "classes.tif",
    ("raster", "slide"),
    _make_cog,
    title="Class map",
    media_type=_COG_TYPE,
    key="classes",
    is_class_raster=True,
    driver="COG",
    is_made_aside=True,
)
CONFIDENCE: Final = Format(
    "confidence",
    "confidence.tif",
    ("raster", "slide"),
    _make_confidence,
    title="Probability of the class of each pixel",
    media_type=_COG_TYPE,
    key="confidence",
    has_confidence=True,
    has_map_classes=False,
    driver="COG",
)
SCORES: Final = Format(
    "scores",
    "scores.tif",
    ("raster", "slide"),
    _make_scores,
    title="Probabilities of all classes, a band for each (needs --scores)",
    media_type=_COG_TYPE,
    key="scores",
    has_map_classes=False,
    check=_check_scores,
    driver="COG",
)
MASKS: Final = Format(
    "masks",
    "masks.tif",
    ("raster", "slide"),
    _make_masks,
    title="Classes that may overlap, a band for each: 1 if a pixel has the class, 0 if not",
    media_type=_COG_TYPE,
    key="masks",
    check=_check_masks,
    driver="COG",
)
