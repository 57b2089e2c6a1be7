"""The jobs file as types: what may be said of a batch, of a job, and of how a job is run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.outputs.dicom.segmentation import DicomSegKind
from segment_tiles.workflows.config import parse_memory, parse_roi

FormatName = Literal[
    "zarr", "cog", "parquet", "gpkg", "geojson", "geojsonl", "fgb", "qupath", "pmtiles", "ome-zarr",
    "ome-tiff", "nifti", "dicom-seg",
]  # fmt: skip
Resampling = Literal["nearest", "bilinear", "cubic", "cubicspline", "lanczos", "average", "mode"]
SCENE_KEYS = ("source", "csv", "stac")
"""Keys that say where the scenes of a job are listed; a job has one of them."""


def _hyphened(name: str) -> str:
    return name.replace("_", "-")


class _Keys(BaseModel):
    """Keys are spelled as the options of `run`, with hyphens; others are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=_hyphened)


class RunSettings(_Keys):
    """How a scene is run: the options of `segment-tiles run`, under the same names."""

    model: str | None = Field(
        default=None,
        description="Bundled model, or folder of a model package; several, by commas: their mean.",
    )
    tile: PositiveInt | None = Field(default=None, description="Tile side in pixels; default: the model's.")
    overlap: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None, description="Shared part of a tile side, 0 to below 1."
    )
    blend: Literal["gaussian", "hann", "linear", "crop"] | None = Field(
        default=None, description="How overlapping tiles are weighed."
    )
    batch: PositiveInt | Literal["auto"] | None = Field(
        default=None, description="Tiles of one forward pass."
    )
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] | None = Field(
        default=None, description="auto, cpu, cuda or cuda:N."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = Field(
        default=None, description="Number format of the network."
    )
    backend: Literal["auto", "torch", "compile", "openvino", "onnx"] | None = Field(
        default=None, description="What runs the network."
    )
    augmentation: Literal["none", "flips", "rotations"] | None = Field(
        default=None, alias="tta", description="Turns in which every tile is seen, averaged."
    )
    bands: tuple[PositiveInt, ...] | None = Field(
        default=None, description="Bands of the source from 1, in the order of the model."
    )
    roi: tuple[float, ...] | None = Field(
        default=None, description="Min x, min y, max x, max y in the coordinates of the source."
    )
    aoi: str | None = Field(default=None, description="Vector file with polygons, relative to the jobs file.")
    nodata: float | None = Field(default=None, description="Value of missing pixels.")
    nodata_rule: Literal["all", "any"] | None = Field(
        default=None, description="A pixel is missing where all or any of its bands are."
    )
    alpha: Literal["auto", "mask", "band"] | None = Field(
        default=None,
        description="What a band tagged alpha is: a mask unless bands names it, a mask, or data.",
    )
    level: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Overview level of the source; 0 is full size."
    )
    mpp: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Micrometres per pixel at which a slide is read."
    )
    source_mpp: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Micrometres per pixel of the slide itself, in place of what it says."
    )
    z: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Plane of an OME image, from 0.")
    t: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Time point, from 0.")
    tissue: str | None = Field(
        default=None, description="auto, otsu, off, or a file of polygons: which part of a slide is computed."
    )
    labels_inside: bool | None = Field(
        default=None, description="Put ome-zarr labels into the OME-Zarr source itself."
    )
    dicom_seg: DicomSegKind | None = Field(
        default=None, description="How the segments of dicom-seg are stored: binary (default) or labelmap."
    )
    axis: str | None = Field(
        default=None, description="Of a volume: axial, coronal, sagittal, 0, 1, 2 or all."
    )
    neighbours: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Of a volume: slices on both sides that are bands of the model too."
    )
    format: tuple[FormatName, ...] | None = Field(default=None, description="What is made of the class map.")
    scores: bool | None = Field(default=None, description="Keep the probabilities of all classes.")
    memory: str | PositiveInt | None = Field(default=None, description="Most memory to take, such as 4GB.")
    workers: PositiveInt | None = Field(
        default=None, description="Compute in so many processes of this machine."
    )
    scheduler: str | None = Field(default=None, description="Address of a running Dask scheduler.")
    cluster: str | None = Field(
        default=None, description="YAML file of a Dask cluster to start, relative to the jobs file."
    )
    trust: bool | None = Field(default=None, description="Load a model whose graph may execute code.")

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, value: str | int | None) -> str | int | None:
        if isinstance(value, str):
            try:
                parse_memory(value)
            except UsageError as error:
                msg = "give a size such as 4GB or 900MiB"
                raise ValueError(msg) from error
        return value

    @field_validator("roi")
    @classmethod
    def _is_a_box(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None:
            try:
                parse_roi(",".join(str(number) for number in value))
            except UsageError as error:
                msg = str(error).split("; ", 1)[1]
                raise ValueError(msg) from error
        return value

    def given(self) -> dict[str, Any]:
        """Return what the user wrote, by the names of the fields."""
        return {
            name: getattr(self, name)
            for name in RunSettings.model_fields
            if name in self.model_fields_set and getattr(self, name) is not None
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
        for key, owner in (("column", "csv"), ("asset", "stac")):
            if key in self.model_fields_set and getattr(self, owner) is None:
                msg = f"{key} belongs to {owner}, which this job has not"
                raise ValueError(msg)
        if self.mosaic and not self.name:
            msg = "a mosaic needs a name"
            raise ValueError(msg)
        return self

    @property
    def mosaic_settings(self) -> MosaicSettings | None:
        """How the scenes become one raster, or None where each is segmented alone."""
        if isinstance(self.mosaic, MosaicSettings):
            return self.mosaic
        return MosaicSettings() if self.mosaic else None


class BatchSettings(_Keys):
    """A jobs file of `segment-tiles batch` and `segment-tiles schedule`."""

    results: str | None = Field(
        default=None,
        description="Folder of table and collection; default: the name of the jobs file + -results.",
    )
    out: str = Field(
        default="{results}/{id}",
        description="Output directory of each scene, with {fields}; relative to the file.",
    )
    defaults: RunSettings = Field(default=RunSettings(), description="Settings of all jobs.")
    jobs: tuple[JobEntry, ...] = Field(description="What to segment.", min_length=1)
