"""Settings of one training run: values that were checked when the configuration was parsed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from segment_tiles.pipeline.accepted import PolygonShape
from segment_tiles.pipeline.learning.setting_types import (
    MOST_THREADS,
    Fraction,
    Positive,
    PositiveCount,
    Settings,
    package_name,
)
from segment_tiles.pipeline.wording import counted

IGNORE_CODE = 255
"""Label of a pixel that neither the loss nor a score counts."""


class ClassSettings(Settings):
    """One class of the model, in the order of its code."""

    name: str
    color: tuple[int, int, int]


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
    polygon_shape: PolygonShape = "polygon"
    """What a polygon stands for; the ellipses are for boxes, such as those drawn around tree crowns."""
    unlabelled: str | None = None
    """Class of pixels outside all polygons; None: they are ignored."""
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


class NetworkSettings(Settings):
    """The network to build; the names are those of the model manifest."""

    arch: str = "deeplabv3plus"
    backbone: str = "resnet18"
    output_stride: Literal[8, 16, 32] = 16
    atrous_rates: tuple[PositiveCount, ...] = (6, 12, 18)
    image_pooling: Literal["global", "window", "off"] = "window"
    image_pooling_window: PositiveCount | None = None
    """Feature pixels; None with ``window``: the training window divided by the output stride."""
    align_corners: bool = False
    details: dict[str, JsonValue] = Field(default_factory=dict)
    """Further settings of one family, such as channel counts; checked when the network is built."""
    initial_backbone: str | None = None
    """First weights of the backbone: a file, ``package:name/path`` inside an installed package, or ``timm`` for
    timm's own download."""
    frozen: tuple[str, ...] = ()
    """Parts of the backbone whose weights stay as they are, such as ``conv_stem`` or ``blocks.0``."""


class RecoloringSettings(Settings):
    """How pixels of one class change their colour independently of other classes; value 0 stays 0."""

    probability: Fraction = 0.7
    """Probability that it is done."""
    gain: tuple[Positive, Positive] = (0.7, 1.7)
    """Range of the factor of all bands, drawn evenly in its logarithm."""
    tint: Annotated[float, Field(ge=0)] = 0.2
    """Each band has a factor of its own, its natural logarithm within +- this."""
    grey: Fraction = 1.0
    """Largest share of the mean of all bands that replaces each band."""


class AugmentationSettings(Settings):
    """Random changes of a training window; every one can be switched off with 0."""

    scale: tuple[Positive, Positive] = (0.5, 2.0)
    """Range of the zoom, drawn evenly in its logarithm; 2 shows things twice as large."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 180.0
    """Largest rotation in degrees, either way."""
    flips: bool = True
    band_gain: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Each band is multiplied by 1 +- this."""
    band_offset: Annotated[float, Field(ge=0)] = 0.5
    """Each band is moved by +- this many standard deviations."""
    brightness: Annotated[float, Field(ge=0)] = 0.5
    """All bands are moved together by +- this many standard deviations."""
    gamma: tuple[Positive, Positive] = (0.7, 1.4)
    """Range of the exponent of a contrast curve."""
    grey: Fraction = 0.3
    """Largest share of the mean of all bands that replaces each band: takes the colour out."""
    noise: Annotated[float, Field(ge=0)] = 0.1
    """Standard deviation of added noise, in standard deviations of the band."""
    blur: Annotated[float, Field(ge=0)] = 1.0
    """Largest sigma of a Gaussian blur, in pixels."""
    probability: Fraction = 0.5
    """Probability of each radiometric change."""
    recolor: dict[str, RecoloringSettings] = Field(default_factory=dict)
    """Class -> how its pixels change their colour, independently of other classes: for what has another colour
    at the next site, such as the ground under trees."""


class LossSettings(Settings):
    """What is minimised."""

    kind: Literal["cross_entropy", "dice_cross_entropy", "focal", "lovasz", "top_k"] = "dice_cross_entropy"
    class_weights: tuple[Positive, ...] | None = None
    """Of the cross-entropy part, in the order of the classes."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    gamma: Annotated[float, Field(ge=0)] = 2.0
    """Of focal."""
    top_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Of top_k: share of the pixels, the hardest ones, that count."""


class OptimizerSettings(Settings):
    """How the weights move; ``sgd`` with the defaults of ``poly_power`` is the protocol of the papers."""

    kind: Literal["sgd", "adamw"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    backbone_factor: Positive = 1.0
    """Learning rate of the backbone as a share of that of the head; below 1 if it has first weights."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of sgd."""
    poly_power: Annotated[float, Field(ge=0)] = 0.9
    """Learning rate = first * (1 - step / steps) ** power; 0 keeps it."""
    restarts: tuple[PositiveCount, ...] = ()
    """Steps after which the learning rate starts again, in rising order (warm restarts, 1608.03983)."""
    restart_factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    """First learning rate of each cycle as a share of that of the one before."""
    warm_up_steps: Annotated[int, Field(ge=0)] = 50
    gradient_norm: Positive | None = 5.0
    """Gradients are scaled down to this norm; None: never."""


class TrainingSettings(Settings):
    """A whole training run, as its YAML file describes it."""

    name: Annotated[str, AfterValidator(package_name)]
    """Name of the model package."""
    description: str = ""
    scenes: Annotated[tuple[SceneSettings, ...], Field(min_length=1)]
    classes: Annotated[tuple[ClassSettings, ...], Field(min_length=2)]
    network: NetworkSettings = NetworkSettings()
    window: PositiveCount = 256
    """Side of a training window, in pixels."""
    tile: PositiveCount | None = None
    """Side of a tile of the finished model, in pixels; None: ``window``, which is what the network knows."""
    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.5
    """Overlap of tiles that validation uses and the manifest recommends."""
    pixel_size: Positive | None = None
    pixel_unit: Literal["m", "micrometer", "millimeter"] = "m"
    class_balance: Fraction = 0.5
    """0: windows are spread evenly over the labelled area; 1: around every class equally often."""
    augmentation: AugmentationSettings = AugmentationSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    steps: PositiveCount = 2000
    batch: Annotated[int, Field(ge=2, le=2**31 - 1)] = 8
    """Windows of one step in one process."""
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast if the processor computes it natively, else fp32."""
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay of the moving average of the weights that is scored and saved; 0: the weights themselves."""
    validate_every: PositiveCount = 250
    """Steps between two scores, each followed by a checkpoint."""
    keep: Literal["best", "last"] = "best"
    """Weights of the finished model; last: no choice was made by looking at the held-out scores."""
    patience: PositiveCount | None = None
    """Stop after this many scores without a better mean IoU; None: never."""
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | None = None
    """Processor threads of one step; None: torch decides. One is fastest if other programs share the machine."""
    loader_processes: Annotated[int, Field(ge=0, le=MOST_THREADS)] = 1
    """Processes that read windows beside the training; 0: the training process reads."""
    left_out_steps: PositiveCount | None = None
    """Steps of each training with ``--each-scene-left-out``; None: ``steps``."""
    label_rule: str = ""
    """How the labels came to be, as text; kept in the model package."""
    data_notice: str = ""
    """Source and terms of the data; kept in the model package."""
    limits: tuple[str, ...] = ()
    """What the model must not be used for; kept in the model package."""

    @model_validator(mode="after")
    def _names_agree(self) -> TrainingSettings:
        names = [c.name for c in self.classes]
        if len(set(names)) != len(names):
            msg = f"class names {names} repeat; each must be different"
            raise ValueError(msg)
        scenes = [s.name for s in self.scenes]
        if len(set(scenes)) != len(scenes):
            msg = f"scene names {scenes} repeat; each must be different"
            raise ValueError(msg)
        for scene in self.scenes:
            wanted = set(scene.class_values.values()) | ({scene.unlabelled} if scene.unlabelled else set())
            if scene.slices is not None:
                wanted |= set(scene.slices.label_probabilities)
                if scene.unlabelled is None or not scene.slices.label_probabilities:
                    msg = f"scene {scene.name} has slices: label_probabilities and unlabelled must define the classes"
                    raise ValueError(msg)
            elif not scene.labels:
                msg = f"scene {scene.name} has no labels: name a class raster or a vector file"
                raise ValueError(msg)
            if unknown := sorted(wanted - set(names)):
                msg = f"scene {scene.name} has the class {unknown[0]!r}; the classes are {', '.join(names)}"
                raise ValueError(msg)
        if unknown := sorted(self.augmentation.recolor.keys() - set(names)):
            msg = f"augmentation.recolor names the class {unknown[0]!r}; the classes are {', '.join(names)}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _numbers_agree(self) -> TrainingSettings:
        names = [c.name for c in self.classes]
        weights = self.loss.class_weights
        if weights is not None and len(weights) != len(names):
            classes = counted(len(names), "class", "classes")
            msg = f"loss.class_weights has {counted(len(weights), 'value')} for {classes}; one for each is needed"
            raise ValueError(msg)
        edges = (0, *self.optimizer.restarts, self.steps)
        if list(edges) != sorted(set(edges)):
            msg = f"optimizer.restarts is {self.optimizer.restarts}; they must rise and lie below steps ({self.steps})"
            raise ValueError(msg)
        ranges = {"scale": self.augmentation.scale, "gamma": self.augmentation.gamma}
        ranges |= {f"recolor.{name}.gain": s.gain for name, s in self.augmentation.recolor.items()}
        for key, (low, high) in ranges.items():
            if low > high:
                msg = f"augmentation.{key} is {(low, high)}; the smaller must come first"
                raise ValueError(msg)
        return self
