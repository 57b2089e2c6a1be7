"""Settings of one network, parsed from the open part of its architecture and checked."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.networks.dilation import DilationScheme
from segment_tiles.pipeline.models.networks.layers import ImagePoolingMode, SeparableStyle
from segment_tiles.pipeline.models.packages.manifest import Architecture

DEEPLAB = ("deeplabv1", "deeplabv2", "deeplabv3", "deeplabv3plus")
OUTPUT_STRIDES = (8, 16, 32)

_RATES_AT_8: dict[str, tuple[int, ...]] = {
    "deeplabv1": (12,),  # LargeFOV, arXiv 1412.7062 section 5
    "deeplabv2": (6, 12, 18, 24),  # ASPP-L, arXiv 1606.00915 section 4.1.2
    "deeplabv3": (12, 24, 36),  # arXiv 1706.05587 section 3.3: (6, 12, 18) at output stride 16, doubled at 8
    "deeplabv3plus": (12, 24, 36),
}


class NetworkSettings(BaseModel):
    """What ``Architecture.details`` may hold for the DeepLab family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_pooling: ImagePoolingMode = "off"
    """Copied from the architecture."""
    channels: int = Field(256, gt=0)
    """Width of ASPP and decoder (v3 section 3.3; v3+ table 2)."""
    low_level_channels: int = Field(48, gt=0)
    """Width of the low-level projection: the best of v3+ table 1."""
    decoder_convolutions: int = Field(2, gt=0)
    """3x3 convolutions of the decoder: the best of v3+ table 2."""
    aspp_separable: SeparableStyle = "batch_norm_relu"
    """Style of the 3x3 of ASPP; TensorFlow common.py aspp_with_separable_conv is on."""
    decoder_separable: SeparableStyle = "batch_norm_relu"
    """Style of the 3x3 of the decoder; decoder_use_separable_conv is on."""
    refine: SeparableStyle | None = None
    """Style of a 3x3 between ASPP and what follows; none in the papers, one in other libraries."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """After the ASPP projection; TensorFlow model.py keeps 0.9."""
    batch_norm_momentum: float = Field(0.1, gt=0, le=1)
    """Of the head. TensorFlow decays by 0.9997, 0.0003 here, which suits 30,000 steps; torch's 0.1 suits fewer."""
    backbone_batch_norm_epsilon: float | None = None
    """Where the source of the weights differs from timm's own."""
    dilation: DilationScheme = "later_blocks"
    """Which blocks of a stage without its stride are dilated."""
    multi_grid: tuple[int, ...] | None = None
    """Factors of the last stage's rates, (1, 2, 4) for ResNet in v3 section 4.3."""
    pad_expansion: bool = False
    """MobileNetV2 of VainF and jfzhang95 pads block inputs before the expansion."""
    pad_stem: bool = True
    """False: VainF's MobileNetV2, whose first convolution has no padding."""
    stem_relu: bool = True
    """False: VainF's HRNet, whose first two convolutions have no ReLU between them."""
    final_convolution: int | None = None
    """Width of the 1x1 at the end of SMP's MobileNetV2, 1280."""


def default_rates(arch: str, output_stride: int) -> tuple[int, ...]:
    """Return the atrous rates of the paper, scaled to the output stride.

    >>> default_rates("deeplabv3plus", 16)
    (6, 12, 18)
    """
    return tuple(max(1, rate * 8 // output_stride) for rate in _RATES_AT_8[arch])


def parse_settings(architecture: Architecture) -> NetworkSettings:
    """Check an architecture and return its settings.

    Raises
    ------
    ModelError
        A value is out of range or a detail is unknown.
    """
    _check(architecture)
    details: dict[str, Any] = {**architecture.details, "image_pooling": architecture.image_pooling}
    try:
        return NetworkSettings.model_validate(details)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(set(NetworkSettings.model_fields) - {"image_pooling"}))
            msg = f"architecture detail {name} is not known; known are {known}"
            raise ModelError(msg) from error
        msg = f"architecture detail {name} is {first['input']!r}: {first['msg']}"
        raise ModelError(msg) from error


def _check(architecture: Architecture) -> None:
    if architecture.output_stride not in OUTPUT_STRIDES:
        msg = f"output stride is {architecture.output_stride}; it must be 8, 16 or 32"
        raise ModelError(msg)
    rates = architecture.atrous_rates
    if not rates or min(rates) < 1:
        msg = f"atrous rates are {rates}; at least one is needed, each 1 or more"
        raise ModelError(msg)
    window = architecture.image_pooling_window
    if architecture.image_pooling == "window" and (window is None or window < 1 or window % 2 == 0):
        msg = (
            f"image pooling window is {window}; it must be an odd number of feature pixels, "
            "(training crop - 1) / output stride + 1, such as 33 for 513 at 16"
        )
        raise ModelError(msg)
