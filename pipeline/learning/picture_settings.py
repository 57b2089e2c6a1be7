"""Settings of folders of pictures with masks, and of the table that says which pictures belong together."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from segment_tiles.pipeline.learning.setting_types import Positive, Settings, TableValue


class GroupSettings(Settings):
    """Which pictures belong together, and which of them are held out: no group is on both sides."""

    file: str = ""
    """CSV file with a row for each picture; empty: each picture is a group of its own, named as the picture."""
    key: str = "name"
    """Column with the name of the picture, without its suffix."""
    group: str = ""
    """Column of the group, such as a field of view, an animal or a place; empty: the key."""
    fold: str | None = None
    """Column that says which fold a picture is in; None: each group is a fold of its own."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Put the groups into so many folds of about as many pictures, named 0, 1, ...; not with ``fold``."""
    held_out: tuple[TableValue, ...] = ()
    """Folds that training never sees; validation scores them."""
    aside: tuple[TableValue, ...] = ()
    """Folds that are neither trained on nor scored."""
    only: dict[str, tuple[TableValue, ...]] = Field(default_factory=dict)
    """Column -> values: pictures with other ones are left out."""
    score_by: str | None = None
    """Column by whose values scores are told too."""
    weight_by: str | None = None
    """Column whose values are drawn equally often, however many pictures have each; held-out pictures are counted."""
    pixel_size: str | None = None
    """Column with the pixel size of a picture in ``pixel_unit``: it is resampled to that of the model."""


class PictureFolderSettings(Settings):
    """Pictures of one folder and masks of another, in pairs by name."""

    name: str
    """Name in logs, scores and ``--leave-out``."""
    images: str
    """Folder of pictures; a relative path starts at the data folder."""
    labels: str
    """Folder of masks: class rasters, label images with a number for each object, or vector files."""
    label_ending: str = ""
    """What the name of a mask has after that of its picture, such as ``_mask``; before the suffix."""
    groups: GroupSettings = GroupSettings()
    class_column: str | None = None
    """As in a scene."""
    class_values: dict[str, str] = Field(default_factory=dict)
    """As in a scene."""
    ignored_values: tuple[TableValue, ...] = ()
    """As in a scene."""
    unlabelled: str | None = None
    """As in a scene."""
    instances: str | None = None
    """As in a scene."""
    bands: tuple[int, ...] | None = None
    """As in a scene; None: all, and a picture of one band is told as three equal ones if others have three."""
    nodata: float | None = None
    """As in a scene."""
    weight: Positive = 1.0
    """How often windows come from the folder, relative to other folders and scenes."""
