"""Settings of a labelled scene: its raster, its labels, and what training must not see of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Protocol

from pydantic import Field

from segment_tiles.pipeline.accepted import PolygonShape
from segment_tiles.pipeline.learning.setting_types import Positive, PositiveCount, Settings, TableValue


class HeldOutWindow(Settings):
    """A box of a scene that training never sees, in pixels; validation scores it."""

    row: Annotated[int, Field(ge=0)]
    column: Annotated[int, Field(ge=0)]
    height: PositiveCount
    width: PositiveCount


class SliceSettings(Settings):
    """Which slices of a volume make a scene."""

    axis: Literal["sagittal", "coronal", "axial"] = "axial"
    first: Annotated[int, Field(ge=0)] = 0
    """Number of the first slice, along the axis from right, back or below."""
    last: Annotated[int, Field(ge=0)] | None = None
    """Number of the last slice; None: the last of the volume."""
    step: PositiveCount = 1
    gap: Annotated[int, Field(ge=0)] = 32
    """Rows without data between two slices."""
    held_out: tuple[int, int] | None = None
    """First and last slice of the slab that training never sees."""
    guard: Annotated[int, Field(ge=0)] = 0
    """Slices on both sides of the slab that are neither trained on nor scored: neighbours look alike."""
    label_probabilities: dict[str, str] = Field(default_factory=dict)
    """Class -> volume of its probability; ``unlabelled`` of the scene has the rest."""
    full: Positive = 255.0
    """Value of a probability of one."""


class SceneSettings(Settings):
    """A raster with its labels, a class raster or a vector file; or slices of a volume."""

    name: str
    """Name in logs, scores and ``--leave-out``."""
    raster: str
    """Path or URL of the raster; a relative path starts at the data folder."""
    labels: str = ""
    """Class raster, or vector file with polygons; empty if ``slices`` names volumes of probability."""
    slices: SliceSettings | None = None
    """For a volume: which slices, and what labels them."""
    class_column: str | None = None
    """Column of a vector file that holds the class; None: every polygon is of the one class in ``class_values``."""
    class_values: dict[str, str] = Field(default_factory=dict)
    """Value of the column, or code of the raster, -> class name; empty: the values are the names or codes."""
    ignored_values: tuple[TableValue, ...] = ()
    """Codes of a label raster that are no class: their pixels have no label."""
    polygon_shape: PolygonShape = "polygon"
    """What a polygon stands for; the ellipses are for boxes, such as those drawn around tree crowns."""
    unlabelled: str | None = None
    """Class of pixels outside all polygons, or without an object; None: they are ignored."""
    instances: str | None = None
    """The label raster has a number for each object of this class, and 0 where there is none."""
    bands: tuple[int, ...] | None = None
    """Bands to read, counted from 1; None: all."""
    nodata: float | None = None
    """Value of invalid pixels if the file does not say."""
    weight: Positive = 1.0
    """How often windows come from this scene, relative to the others."""
    held_out: tuple[HeldOutWindow, ...] = ()
    """Boxes that training never sees."""
    use: Literal["train", "validate"] = "train"
    """validate: training never sees the scene; the whole of it is scored."""
    pixel_size: Positive | None = None
    """Pixel size of the raster in ``pixel_unit``, if the file does not say: it is resampled to that of the model."""
    folder: str = ""
    """Name of the folder of pictures that it came from; empty: none."""
    part: str = ""
    """Name by which it is left out together with others; empty: its own."""
    told_as: str = ""
    """Name under which its scores are told together with those of others; empty: its own."""


class NamesClasses(Protocol):
    """What says which class labels are of."""

    @property
    def class_values(self) -> Mapping[str, str]:
        """Value -> class."""

    @property
    def unlabelled(self) -> str | None:
        """Class of the rest."""

    @property
    def instances(self) -> str | None:
        """Class of objects with numbers."""


def check_classes(whose: str, labels: NamesClasses, names: Sequence[str]) -> None:
    """Refuse a class that the model has not.

    Parameters
    ----------
    whose
        Subject and verb of the message: ``scene north has``.
    labels
        Settings of a scene or of pictures.
    names
        Classes of the model.

    Raises
    ------
    ValueError
        With the class and those that there are.
    """
    wanted = {*labels.class_values.values()} | {
        n for n in (labels.unlabelled, labels.instances) if n is not None
    }
    if unknown := sorted(wanted - set(names)):
        msg = f"{whose} the class {unknown[0]!r}; the classes are {', '.join(names)}"
        raise ValueError(msg)
    if labels.instances is not None and labels.class_values:
        msg = (
            f"{whose} both instances and class_values; the numbers of a label image are objects of one class"
        )
        raise ValueError(msg)


def check_scene(scene: SceneSettings, names: Sequence[str]) -> None:
    """Refuse a scene without labels, or with a class that the model has not.

    Raises
    ------
    ValueError
        With the scene and what is missing.
    """
    check_classes(f"scene {scene.name} has", scene, names)
    if scene.slices is None:
        if not scene.labels:
            msg = f"scene {scene.name} has no labels: name a class raster or a vector file"
            raise ValueError(msg)
        return
    if scene.unlabelled is None or not scene.slices.label_probabilities:
        msg = f"scene {scene.name} has slices: label_probabilities and unlabelled must define the classes"
        raise ValueError(msg)
    if unknown := sorted(set(scene.slices.label_probabilities) - set(names)):
        msg = f"scene {scene.name} has the class {unknown[0]!r}; the classes are {', '.join(names)}"
        raise ValueError(msg)
