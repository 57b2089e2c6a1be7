"""Fully connected CRF: the refinement of DeepLab v1 and v2 (Kraehenbuehl and Koltun, arXiv 1210.5644)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from segment_tiles.pipeline.errors import MissingExtraError, ModelError
from segment_tiles.pipeline.wording import counted

EXTRA_KEY = "crf"
"""Where a manifest's ``extra`` keeps the parameters; without it there is no CRF."""
_SMALLEST_PROBABILITY = 1e-8


class CrfParameters(BaseModel):
    """Weights and widths of the two pairwise terms.

    Two pixels p and q of different class pay::

        bilateral_weight * exp(-|p - q|^2 / 2 bilateral_width^2 - |I_p - I_q|^2 / 2 color_width^2)
        + gaussian_weight * exp(-|p - q|^2 / 2 gaussian_width^2)

    The defaults are those of DeepLabv2 on ResNet-101 for PASCAL VOC (kazuto1011/deeplab-pytorch,
    configs/voc12.yaml), for colours from 0 to 255 and images of about 500 pixels; the v2 paper searches
    bilateral_weight in 3 to 6, bilateral_width in 30 to 100 and color_width in 3 to 6 (section 4.1).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bilateral_weight: float = Field(4.0, ge=0)
    """w1 of the papers."""
    bilateral_width: float = Field(67.0, gt=0)
    """sigma alpha, pixels."""
    color_width: float = Field(3.0, gt=0)
    """sigma beta, in steps of 0 to 255."""
    gaussian_weight: float = Field(3.0, ge=0)
    """w2."""
    gaussian_width: float = Field(1.0, gt=0)
    """sigma gamma, pixels."""
    iterations: int = Field(10, gt=0)
    """Mean-field steps; 10 in both papers."""
    bands: tuple[int, int, int] = (0, 1, 2)
    """Which bands of the model's input take the place of red, green and blue, from 0 on."""
    minimum: float = 0.0
    """Raster value that becomes 0."""
    maximum: float = 255.0
    """Raster value that becomes 255."""


def crf_parameters(extra: Mapping[str, Any], bands: int) -> CrfParameters | None:
    """Read the parameters from a manifest's ``extra``; None if the model has no CRF.

    Raises
    ------
    ModelError
        A value is out of range, or a band is not among the model's.
    """
    if EXTRA_KEY not in extra:
        return None
    try:
        parameters = CrfParameters.model_validate(extra[EXTRA_KEY])
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        msg = f"crf parameter {name} is {first['input']!r}: {first['msg']}"
        raise ModelError(msg) from error
    if not all(0 <= band < bands for band in parameters.bands):
        msg = f"crf bands are {parameters.bands}, but the model has {counted(bands, 'band')}, counted from 0"
        raise ModelError(msg)
    if parameters.maximum <= parameters.minimum:
        msg = f"crf maximum {parameters.maximum} must be above its minimum {parameters.minimum}"
        raise ModelError(msg)
    return parameters


def color_image(values: NDArray[Any], parameters: CrfParameters) -> NDArray[np.uint8]:
    """Scale three bands of raster values to colours: (bands, H, W) to (3, H, W) uint8; NaN becomes 0."""
    chosen: NDArray[Any] = values[list(parameters.bands)]
    if chosen.dtype == np.uint8 and (parameters.minimum, parameters.maximum) == (0.0, 255.0):
        return chosen.astype(np.uint8, copy=False)
    scale = 255.0 / (parameters.maximum - parameters.minimum)
    scaled: NDArray[np.float32] = np.nan_to_num(
        (chosen.astype(np.float32) - parameters.minimum) * scale, nan=0.0
    )
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def refine_batch(probabilities: Tensor, values: Tensor, parameters: CrfParameters) -> Tensor:
    """Refine every tile of a batch on the CPU.

    Parameters
    ----------
    probabilities
        (B, C, H, W) float32, on any device.
    values
        (B, bands, H, W), raw values of the raster.
    parameters
        Weights and widths.

    Returns
    -------
    Tensor
        (B, C, H, W) float32, where `probabilities` are.
    """
    images = values.cpu().numpy()
    refined = [
        _refine_finite(tile.numpy(), color_image(image, parameters), parameters)
        for tile, image in zip(probabilities.cpu(), images, strict=True)
    ]
    return torch.from_numpy(np.stack(refined)).to(probabilities.device)


def _refine_finite(
    probabilities: NDArray[np.float32], image: NDArray[np.uint8], parameters: CrfParameters
) -> NDArray[np.float32]:
    """Refine a tile; a pixel of NaN stays one and says nothing to the others, which all see it."""
    lost = np.isnan(probabilities).any(axis=0)
    if not lost.any():
        return refine(probabilities, image, parameters)
    known = np.where(lost, np.float32(1 / len(probabilities)), probabilities)
    return np.where(lost, np.float32(np.nan), refine(known, image, parameters))


def refine(
    probabilities: NDArray[np.float32], image: NDArray[np.uint8], parameters: CrfParameters
) -> NDArray[np.float32]:
    """Sharpen class probabilities along the edges of an image by mean-field inference.

    Every pixel sees every other, so the result depends on the whole window that is given: refine
    overlapping windows, and blend.

    Parameters
    ----------
    probabilities
        (C, H, W), sum to 1 over C.
    image
        (3, H, W).
    parameters
        Weights and widths.

    Returns
    -------
    NDArray
        (C, H, W) float32, sum to 1 over C.

    Raises
    ------
    MissingExtraError
        pydensecrf2 is not installed.
    """
    try:
        densecrf = import_module("pydensecrf.densecrf")
    except ImportError as error:
        msg = "the fully connected CRF needs pydensecrf2: pip install 'segment-tiles[crf]'"
        raise MissingExtraError(msg) from error
    classes, height, width = probabilities.shape
    field = densecrf.DenseCRF2D(width, height, classes)
    unary = -np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY))
    field.setUnaryEnergy(np.ascontiguousarray(unary.reshape(classes, -1), dtype=np.float32))
    field.addPairwiseGaussian(sxy=parameters.gaussian_width, compat=parameters.gaussian_weight)
    field.addPairwiseBilateral(
        sxy=parameters.bilateral_width,
        srgb=parameters.color_width,
        rgbim=np.ascontiguousarray(image.transpose(1, 2, 0)),
        compat=parameters.bilateral_weight,
    )
    refined = np.array(field.inference(parameters.iterations), dtype=np.float32)
    return refined.reshape(classes, height, width)
