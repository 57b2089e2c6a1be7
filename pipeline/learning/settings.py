"""Settings of one training run: values that were checked when the configuration was parsed."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, JsonValue, field_validator, model_validator

from segment_tiles.pipeline.learning.augmentation_settings import AugmentationSettings
from segment_tiles.pipeline.learning.object_settings import (
    BorderSettings,
    NeighbourWeightSettings,
    SheathSettings,
)
from segment_tiles.pipeline.learning.picture_settings import PictureFolderSettings
from segment_tiles.pipeline.learning.scene_settings import SceneSettings, check_classes, check_scene
from segment_tiles.pipeline.learning.setting_types import (
    MOST_THREADS,
    Fraction,
    Positive,
    PositiveCount,
    Settings,
    first_scaling,
    package_name,
)
from segment_tiles.pipeline.wording import counted

IGNORE_CODE = 255
"""Label of a pixel that neither the loss nor a score counts."""
TrainingPrecision = Literal["auto", "fp32", "bf16", "mixed"]
"""Names of what a network computes in while it learns."""


class ClassSettings(Settings):
    """One class of the model, in the order of its code."""

    name: str
    color: tuple[int, int, int]


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


_CROSS_ENTROPIES: Final = ("cross_entropy", "dice_cross_entropy", "top_k")
_HEEDED_BY: Final[dict[str, tuple[str, ...]]] = {
    "class_weights": (*_CROSS_ENTROPIES, "focal"),
    "label_smoothing": _CROSS_ENTROPIES,
    "gamma": ("focal",),
    "top_fraction": ("top_k",),
}
"""Settings of a loss, and the kinds that heed them."""


class LossSettings(Settings):
    """What is minimised."""

    kind: Literal["cross_entropy", "dice_cross_entropy", "focal", "lovasz", "top_k"] = "dice_cross_entropy"
    class_weights: tuple[Positive, ...] | Literal["counts"] | None = None
    """Of the cross-entropy part, in the order of the classes; counts: from the labelled pixels of each class."""
    class_weight_power: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Of counts: a class with a share s of the pixels has s ** -power, scaled so that a pixel weighs 1 on average."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    gamma: Annotated[float, Field(ge=0)] = 2.0
    """Of focal."""
    top_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Of top_k: share of the pixels, the hardest ones, that count."""

    @model_validator(mode="after")
    def _kind_heeds_them(self) -> LossSettings:
        """Refuse what a kind would not heed."""
        usual = type(self).model_fields
        for name, kinds in _HEEDED_BY.items():
            if self.kind not in kinds and getattr(self, name) != usual[name].default:
                msg = f"loss.{name} says nothing to {self.kind}; leave it out, or take one of {', '.join(kinds)}"
                raise ValueError(msg)
        return self


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
    scenes: tuple[SceneSettings, ...] = ()
    """Rasters with their labels; one for each picture is added when ``pictures`` is read."""
    pictures: tuple[PictureFolderSettings, ...] = ()
    """Folders of pictures with masks."""
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
    scaling: str = ""
    """What is done to values before the z-score of all training scenes, written as ``--scaling``; numbers may be those
    of each scene: ``min-max:scene:1,99.8:all``."""
    borders: BorderSettings | None = None
    """Border class that is made from the objects of another one; None: labels stay as they are."""
    sheaths: SheathSettings | None = None
    """Class whose pieces are objects of the model, and the class around them that is measured; nothing is learnt by it.
    """
    neighbour_weight: NeighbourWeightSettings | None = None
    """Weight of pixels between near objects; None: all pixels count alike."""
    augmentation: AugmentationSettings = AugmentationSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    steps: PositiveCount = 2000
    batch: Annotated[int, Field(ge=2, le=2**31 - 1)] = 8
    """Windows of one step in one process."""
    seed: Annotated[int, Field(ge=0)] = 0
    precision: TrainingPrecision = "auto"
    """bf16: autocast throughout. mixed: with convolutions in groups in fp32, whose backward pass in bf16 is slow on
    processors. auto: mixed on a processor that computes bf16 natively, bf16 on such a GPU, else fp32."""
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
        if not self.scenes and not self.pictures:
            msg = "the key scenes is missing; name scenes, or folders of pictures by pictures"
            raise ValueError(msg)
        for what, listed in (("scene", self.scenes), ("pictures", self.pictures)):
            given = [entry.name for entry in listed]
            if len(set(given)) != len(given):
                msg = f"{what} names {given} repeat; each must be different"
                raise ValueError(msg)
        for scene in self.scenes:
            check_scene(scene, names)
        for folder in self.pictures:
            check_classes(f"pictures {folder.name} have", folder, names)
        if unknown := sorted(self.augmentation.recolor.keys() - set(names)):
            msg = f"augmentation.recolor names the class {unknown[0]!r}; the classes are {', '.join(names)}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _objects_agree(self) -> TrainingSettings:
        if self.sheaths is not None:
            self._check_sheaths(self.sheaths)
        if self.borders is not None:
            self._check_borders(self.borders)
        elif self.neighbour_weight is not None:
            msg = "neighbour_weight needs borders, which says what the objects are: borders: {of: CLASS}"
            raise ValueError(msg)
        if self.neighbour_weight is not None and self.loss.kind in {"focal", "lovasz"}:
            msg = f"neighbour_weight weighs cross-entropy; loss.kind is {self.loss.kind}: take dice_cross_entropy"
            raise ValueError(msg)
        return self

    def _check_sheaths(self, sheaths: SheathSettings) -> None:
        names = [c.name for c in self.classes]
        for key, name in (("of", sheaths.of), ("sheath", sheaths.sheath)):
            if name not in names:
                msg = f"sheaths.{key} is {name!r}, which is no class of the model; it has {', '.join(names)}"
                raise ValueError(msg)
        if sheaths.of == sheaths.sheath:
            raise ValueError(
                f"sheaths.of and sheaths.sheath are both {sheaths.of!r}; a sheath is a class of its own"
            )
        if self.borders is not None and sheaths.of in {self.borders.of, self.borders.border_class}:
            raise ValueError(f"sheaths.of is {sheaths.of!r}, which borders name too; objects have one rule")

    def _check_borders(self, borders: BorderSettings) -> None:
        names = [c.name for c in self.classes]
        for key, name in (("of", borders.of), ("border", borders.border_class)):
            if name not in names:
                msg = f"borders.{key} is {name!r}, which is no class of the model; it has {', '.join(names)}"
                raise ValueError(msg)
        if borders.of == borders.border_class:
            msg = f"borders.of and borders.border are both {borders.of!r}; a border is a class of its own"
            raise ValueError(msg)
        labelled: tuple[SceneSettings | PictureFolderSettings, ...] = (*self.scenes, *self.pictures)
        for entry in labelled:
            if entry.instances is not None and entry.instances != borders.of:
                msg = f"{entry.name} has instances of {entry.instances!r}, borders.of is {borders.of!r}: name one class"
                raise ValueError(msg)

    @field_validator("scaling")
    @classmethod
    def _scaling_is_of_scenes(cls, text: str) -> str:
        if text:
            first_scaling(text)
        return text

    @model_validator(mode="after")
    def _numbers_agree(self) -> TrainingSettings:
        names = [c.name for c in self.classes]
        weights = self.loss.class_weights
        if isinstance(weights, tuple) and len(weights) != len(names):
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
