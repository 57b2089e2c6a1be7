"""The jobs file as types: what may be said of a batch, of a job, and of how a job is run."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.batch.keys import fields_of
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.declare import options_of
from segment_tiles.workflows.options.pixels import AskedMask, parse_mask

GroupKey = Literal["tile", "date"]
Resampling = Literal["nearest", "bilinear", "cubic", "cubicspline", "lanczos", "average", "mode"]
SCENE_KEYS = ("source", "csv", "stac")
"""Keys that say where the scenes of a job are listed; a job has one of them."""
LAYER_ENDINGS = {"merged": (".parquet",), "footprints": (".gpkg", ".parquet", ".geojson")}
"""Endings of the layers over all scenes."""


def _hyphened(name: str) -> str:
    return name.replace("_", "-")


class _Keys(BaseModel):
    """Keys are spelled as the options of `run`, with hyphens; others are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=_hyphened)


if TYPE_CHECKING:
    _OptionsOfRun = _Keys  # what follows is a class all the same, which mypy cannot see
else:
    _OptionsOfRun = create_model("_OptionsOfRun", __base__=_Keys, **fields_of(options_of(RunConfig)))


class MaskSettings(_Keys):
    """Another model whose classes limit what is computed and written."""

    model: str = Field(description="Bundled model, or folder of a model package.")
    classes: tuple[str, ...] = Field(default=(), description="Its classes that are left out.")
    keep: tuple[str, ...] = Field(default=(), description="Its classes that are kept, in place of `classes`.")

    @model_validator(mode="after")
    def _has_classes(self) -> Self:
        if bool(self.classes) == bool(self.keep):
            msg = "a mask has classes that are left out, or classes to keep: give one of the two lists"
            raise ValueError(msg)
        self.asked(self.model)
        return self

    def asked(self, model: str) -> str:
        """Return it as on the command line, with the model under this name."""
        try:
            return parse_mask(AskedMask(model, self.classes or self.keep, bool(self.keep)).text)
        except UsageError as error:
            msg = "give each class once, by its name"
            raise ValueError(msg) from error


class RunSettings(_OptionsOfRun):
    """How a scene is run: the options of `segment-tiles run`, under the same names; of `--mask-model` in parts."""

    mask: MaskSettings | None = Field(
        default=None,
        description="Another model, computed first: pixels of these classes of it are left out of the map.",
    )

    def given(self) -> dict[str, Any]:
        """Return what the user wrote, by the names of the fields."""
        return {
            name: getattr(self, name)
            for name in RunSettings.model_fields
            if name in self.model_fields_set and getattr(self, name) is not None
        }


class SearchSettings(BaseModel):
    """A search of a STAC API: the arguments of pystac-client's `Client.search`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bbox: tuple[float, ...] | None = Field(default=None, description="West, south, east, north in degrees.")
    datetime: str | date | None = Field(default=None, description="A time, or two with / between them.")
    collections: str | tuple[str, ...] | None = Field(default=None, description="Ids of collections.")
    query: dict[str, Any] | None = Field(default=None, description='Such as {"eo:cloud_cover": {"lt": 20}}.')
    sortby: str | tuple[str, ...] | None = Field(
        default=None, description="Properties; -datetime: latest first."
    )
    max_items: int | None = Field(default=None, ge=1, description="Most items; default: all.")

    @field_validator("bbox")
    @classmethod
    def _is_box(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and len(value) not in {4, 6}:
            msg = "give west, south, east, north"
            raise ValueError(msg)
        return value

    def arguments(self) -> dict[str, Any]:
        """Return what was given, as pystac-client takes it."""
        given = {name: value for name, value in self if value is not None}
        return {
            name: value.isoformat()
            if isinstance(value, date)
            else list(value)
            if isinstance(value, tuple)
            else value
            for name, value in given.items()
        }


class MosaicSettings(_Keys):
    """How scenes become one raster."""

    resampling: Resampling | None = Field(
        default=None,
        description="Warp scenes on other grids onto that of the first; without it they are refused.",
    )


class JobEntry(RunSettings):
    """An entry of `jobs`: scenes from one list, with settings that differ from the defaults."""

    name: str | None = Field(default=None, description="Of the entry, {name} in `out`; a mosaic needs one.")
    source: str | tuple[str, ...] | None = Field(
        default=None,
        description="Path, URL or glob of rasters, or a list of them; relative to the jobs file.",
    )
    csv: str | None = Field(default=None, description="CSV file with a row per scene.")
    column: str = Field(default="source", description="Column of the CSV file that names the raster.")
    stac: str | None = Field(
        default=None, description="Path or URL of a STAC item, item collection, collection or catalog."
    )
    asset: str | None = Field(
        default=None, description="Key of the asset of each STAC item that is the raster."
    )
    search: SearchSettings | None = Field(
        default=None, description="What the STAC API at `stac` is asked for; its items are the scenes."
    )
    group_by: tuple[GroupKey, ...] = Field(
        default=(),
        alias="group_by",
        description="Items of one tile, of one date or of both become one scene: a stack, later items on top.",
    )
    dates: tuple[date, ...] = Field(
        default=(),
        description="Items of these dates become one stack, whose bands are red@1 ... of the first date, red@2 ...",
    )
    mosaic: bool | MosaicSettings = Field(
        default=False, description="Segment all scenes of the entry as one raster."
    )
    out: str | None = Field(default=None, description="Output directory of each scene, with {fields}.")

    @model_validator(mode="after")
    def _has_one_list(self) -> Self:
        given = [key for key in SCENE_KEYS if getattr(self, key) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            msg = f"a job has one of {', '.join(SCENE_KEYS)}, this one has {found}"
            raise ValueError(msg)
        of_stac = (("asset", "stac"), ("search", "stac"), ("group_by", "stac"), ("dates", "stac"))
        for key, owner in (("column", "csv"), *of_stac):
            if key in self.model_fields_set and getattr(self, owner) is None:
                msg = f"{key} belongs to {owner}, which this job has not"
                raise ValueError(msg)
        if self.asset is not None and (self.group_by or self.dates):
            msg = "asset names one raster of each item; for a stack of items name its bands with assets"
            raise ValueError(msg)
        if self.mosaic and (self.group_by or self.dates):
            msg = "mosaic takes rasters; group_by lays items on top of each other"
            raise ValueError(msg)
        if len(set(self.dates)) < len(self.dates):
            msg = "dates names one day twice"
            raise ValueError(msg)
        if self.mosaic and not self.name:
            msg = "a mosaic needs a name"
            raise ValueError(msg)
        return self

    @property
    def mosaic_settings(self) -> MosaicSettings | None:
        """How the scenes become one raster, or None if each is segmented alone."""
        if isinstance(self.mosaic, MosaicSettings):
            return self.mosaic
        return MosaicSettings() if self.mosaic else None


class BatchSettings(_Keys):
    """A jobs file of `segment-tiles batch` and `segment-tiles schedule`."""

    results: str | None = Field(
        default=None,
        description="Folder or URL of table and collection; default: the name of the jobs file + -results.",
    )
    out: str = Field(
        default="{results}/{id}",
        description="Output directory of each scene, with {fields}; relative to the file. Or a URL, as of run --out.",
    )
    merged: str | None = Field(
        default=None,
        description="GeoParquet file with the polygons of all scenes, in the folder of results, such as "
        "polygons.parquet; or its URL.",
    )
    merged_crs: str | None = Field(
        default=None, description="CRS of that file, such as EPSG:4326; needed if scenes have several."
    )
    footprints: str | None = Field(
        default=None,
        description="File with the outline of every scene in longitude and latitude, its state and the areas of its "
        "classes, in the folder of results, such as footprints.gpkg; or its URL.",
    )
    defaults: RunSettings = Field(default=RunSettings(), description="Settings of all jobs.")
    jobs: tuple[JobEntry, ...] = Field(description="What to segment.", min_length=1)

    @field_validator("merged", "footprints")
    @classmethod
    def _has_ending(cls, value: str | None, info: ValidationInfo) -> str | None:
        endings = LAYER_ENDINGS[info.field_name or ""]
        if value is not None and not value.lower().endswith(endings):
            msg = f"give a file that ends in {' or '.join(endings)}"
            raise ValueError(msg)
        return value

    @field_validator("merged_crs")
    @classmethod
    def _is_crs(cls, value: str | None) -> str | None:
        from pyproj import CRS  # noqa: PLC0415 - a file without needs none
        from pyproj.exceptions import ProjError  # noqa: PLC0415

        try:
            return value if value is None else str(CRS.from_user_input(value) and value)
        except ProjError as error:
            msg = "give a CRS such as EPSG:4326"
            raise ValueError(msg) from error

    @model_validator(mode="after")
    def _has_what_crs_is_of(self) -> Self:
        if self.merged_crs is not None and self.merged is None:
            msg = "merged-crs belongs to merged, which this file has not"
            raise ValueError(msg)
        return self
