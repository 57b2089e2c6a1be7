"""The fields of ``model.json`` that are read, with the types and ranges that each may have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.grid.objects import LARGEST_REACH, USUAL_DEPTH

LARGEST_SIDE = 2**31 - 1
"""Sides and strides beyond a C int are typing errors: GDAL and torch count in it."""


def _number_type(name: str) -> str:
    needed = "the name of a number type is needed, such as uint8, uint16 or float32"
    try:
        kind = np.dtype(name).kind
    except TypeError as error:
        raise ValueError(needed) from error
    if kind not in "uif":
        raise ValueError(needed)
    return name


def _text(value: str) -> str:
    if "\0" in value:
        msg = "no file and no table can hold its null character"
        raise ValueError(msg)
    return value


Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, AfterValidator(_text)]
Name = Annotated[str, Field(min_length=1), AfterValidator(_text)]
Count = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]


class Fields(BaseModel):
    """Strict: a number in quotes is text, and true is no number; what is not named here is for other programs."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class TileShape(Fields):
    """The input tensor; its height is the side of a tile."""

    shape: Annotated[list[int], Field(min_length=1)]
    dim_order: list[str] = []

    @property
    def side(self) -> int:
        """Of a tile in pixels."""
        return self.shape[self.dim_order.index("height")] if "height" in self.dim_order else self.shape[-1]

    @model_validator(mode="after")
    def _one_side_each(self) -> TileShape:
        if self.dim_order and len(self.dim_order) != len(self.shape):
            msg = f"shape {self.shape} and dim_order {self.dim_order} are not of one length"
            raise ValueError(msg)
        return self

    data_type: Annotated[str, AfterValidator(_number_type)]


class TileInput(Fields):
    """What the network sees."""

    bands: list[Name]
    input: TileShape
    value_scaling: Any = None


class ClassEntry(Fields):
    """One class, as the classification extension has it."""

    value: int
    name: Text
    description: Text | None = None
    color_hint: Annotated[str, Field(pattern="^[0-9A-Fa-f]{6}$")]


class Scores(Fields):
    """What the network answers."""

    name: Text | None = None
    classes: Annotated[list[ClassEntry], Field(min_length=1, alias="classification:classes")]


class Hyperparameters(Fields):
    """How the network is built."""

    backbone: Text
    output_stride: Count
    atrous_rates: list[Annotated[int, Field(le=LARGEST_SIDE)]]
    image_pooling: Text
    image_pooling_window: Annotated[int, Field(le=LARGEST_SIDE)] | None
    align_corners: bool
    details: dict[str, Any]


class PixelSize(Fields):
    """That the model was trained at."""

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    unit: Literal["m", "micrometer", "millimeter"]


class Output(Fields):
    """How the output of the network lies on a tile."""

    margin: Annotated[int, Field(ge=0, le=LARGEST_SIDE)] = 0
    coarser: Count = 1
    align_corners: bool = False
    fixed_side: bool = False
    multi_label: bool = False


class HeadEntry(Fields):
    """What MLM has no field for of an output that is a class map of its own; its classes are in ``mlm:output``."""

    name: Name
    details: dict[str, Any]
    output_stride: Count = 1
    output: Annotated[Output, Field(default_factory=Output)]


class ObjectFields(Fields):
    """How a class becomes objects."""

    border: Name | None = None
    reach: Annotated[int, Field(ge=0, le=LARGEST_REACH)] = 0
    split_by: Literal["distance"] | None = None
    depth: Annotated[float, Field(gt=0, allow_inf_nan=False)] = USUAL_DEPTH
    min_pixels: Annotated[int, Field(ge=0)] = 0
    sheath: Name | None = None


class Properties(Fields):
    """The MLM extension, and what it has no field for."""

    name: Text = Field(alias="mlm:name")
    architecture: Text = Field(alias="mlm:architecture")
    hyperparameters: Hyperparameters = Field(alias="mlm:hyperparameters")
    inputs: Annotated[list[TileInput], Field(min_length=1, alias="mlm:input")]
    outputs: Annotated[list[Scores], Field(min_length=1, alias="mlm:output")]
    overlap: Finite = Field(alias="segment_tiles:overlap")
    pixel_size: PixelSize = Field(alias="segment_tiles:pixel_size")
    extra: dict[str, Any] = Field(alias="segment_tiles:extra")
    values: Literal["stored", "physical"] = Field(default="stored", alias="segment_tiles:values")
    description: str = ""
    objects: dict[Name, ObjectFields] = Field(default_factory=dict, alias="segment_tiles:objects")
    output: Annotated[Output, Field(default_factory=Output, alias="segment_tiles:output")]
    heads: Annotated[list[HeadEntry], Field(default_factory=list, alias="segment_tiles:heads")]

    @model_validator(mode="after")
    def _classes_of_each_head(self) -> Properties:
        named = [head.name for head in self.heads]
        if named and (named != [one.name for one in self.outputs] or len(set(named)) < len(named)):
            msg = (
                f"segment_tiles:heads names {named}; mlm:output must name the same, each once, in this order"
            )
            raise ValueError(msg)
        return self


class WeightsAsset(Fields):
    """The weights or the graph."""

    href: Name
    checksum: Text = Field(alias="file:checksum")
    size: Annotated[int, Field(ge=0)] = Field(alias="file:size")


class Assets(Fields):
    """Files of the item."""

    model: WeightsAsset


class ItemFields(Fields):
    """A STAC item of a model."""

    type: Literal["Feature"]
    stac_version: str
    properties: Properties
    assets: Assets


def parse_item(document: object, name: object = "model.json") -> ItemFields:
    """Check the JSON of a ``model.json``, which errors call by ``name``.

    Raises
    ------
    ModelError
        Names the first field that is missing or cannot be accepted, its value, and what is needed.
    """
    try:
        return ItemFields.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            msg = (
                f"{name} lacks {field}: it is not a STAC item with the MLM extension that describes a model of "
                "this program"
            )
        else:
            msg = f"{name}: {field} is {_short(first['input'])}: {_needed(first['msg'])}"
        raise ModelError(msg) from error


def _needed(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be", "it must be")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
