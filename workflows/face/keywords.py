"""The keywords of the face, for editors and type checkers; a test holds them to the declared options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal, Required, TypedDict

from segment_tiles.pipeline.accepted import AlphaUse, DicomSegKind, NodataRule, PolygonShape

if TYPE_CHECKING:
    from segment_tiles.workflows.face.models import Model

PathText = str | PathLike[str]


class ArrayKeywords(TypedDict, total=False):
    """What can be asked of an array in memory."""

    model: Required[PathText | Model | Sequence[PathText | Model]]
    head: str | None
    tile: int | None
    overlap: float | None
    blend: Literal["gaussian", "hann", "linear", "crop"]
    batch: int | Literal["auto"] | None
    device: str
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"]
    backend: Literal["auto", "torch", "compile", "openvino", "onnx"]
    tta: Literal["none", "flips", "rotations"]
    bands: str | Sequence[int] | None
    scaling: PathText | None
    resolution: float | str
    nodata: float | None
    nodata_rule: NodataRule
    threshold: str | Sequence[str] | None
    unsure: str | float | None
    trust: bool


class PolygonKeywords(TypedDict, total=False):
    """Which polygons come of a class map."""

    connectivity: Literal[4, 8]
    classes: str | Sequence[str] | None
    background: str | None
    majority: int
    sieve: str | float
    min_hole: str | float
    min_area: str | float
    simplify: str | float
    right_angles: str | Sequence[str] | None
    objects: str | Sequence[str]
    split_by: Literal["distance"] | None
    split_reach: int
    split_depth: float
    max_area: str | float | None
    min_confidence: float
    edge: Literal["keep", "drop"]
    measure: PathText | None
    split_by_class: bool
    reclass: PathText | None


class _SceneKeywords(ArrayKeywords, PolygonKeywords, total=False):
    roi: str | Sequence[float] | None
    aoi: PathText | None
    alpha: AlphaUse
    assets: str | Sequence[str] | None
    grid_of: str | None
    sign: str | None
    level: int | None
    crs: str | None
    like: PathText | None
    warp: Literal["nearest", "mode"]
    grid: Literal["source", "model"] | None
    mpp: float | None
    source_mpp: float | None
    mask_model: str | None
    z: int | None
    t: int | None
    rpc_height: float | None
    rpc_dem: PathText | None
    tissue: PathText
    labels_inside: bool
    axis: str | int | None
    neighbours: int | None
    format: str | Sequence[str] | None
    dicom_seg: DicomSegKind
    scores: bool
    preview: bool
    item: bool
    memory: str | int | None
    workers: int | None


class PlanKeywords(_SceneKeywords, total=False):
    """What can be asked of a plan."""

    out: PathText | None


class RunKeywords(_SceneKeywords, total=False):
    """What can be asked of a run."""

    out: Required[PathText]
    scheduler: str | None
    cluster: PathText | None
    restart: bool


class PolygonizeKeywords(PolygonKeywords, total=False):
    """What can be asked of polygons."""

    out: Required[PathText | Sequence[PathText]]
    format: str | Sequence[str] | None
    band: int | None
    vector_tile: int
    workers: int
    level_scale: float
    restart: bool


class EvaluateKeywords(TypedDict, total=False):
    """What can be asked of an evaluation."""

    class_column: str | None
    class_value: Mapping[str, str] | Sequence[str]
    ignore_value: Sequence[str]
    polygon_shape: PolygonShape
    unlabelled: str | None
    classes: str | Sequence[str] | None
    boundary_width: str | Sequence[int]
    trimap_width: str | Sequence[int]
    slices: str | Sequence[int] | None
    objects: str | Sequence[str] | None
    out: PathText | None


class TrainKeywords(TypedDict, total=False):
    """What can be asked of a training."""

    out: Required[PathText]
    data: PathText | None
    device: str
    resume: bool
    restart: bool
    pretrained: bool
    leave_out: str | None
    each_scene_left_out: bool
    seeds: int
