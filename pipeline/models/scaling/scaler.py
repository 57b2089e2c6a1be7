"""Computes a scaling in float32, the same for every backend, worker, Region and batch.

An invalid pixel, or a value that is no number, is shown to the network as the mean of its band: that of its z-score
(0), and what later operations make of it; without a z-score the mean of the valid pixels of the tile, as scaled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from segment_tiles.pipeline.models.scaling.scaling import SMALLEST, Chain, Operation, Scaling
from segment_tiles.pipeline.models.scaling.statistics import UNKNOWN_SCALE, mean_of, tile_numbers


class Scaler:
    """A scaling for a number of bands, on a device; every number of it is known or that of a tile.

    Parameters
    ----------
    scaling
        What is computed.
    bands
        Of the model.
    device
        On which values are brought and scaled.
    """

    def __init__(self, scaling: Scaling, bands: int, device: torch.device) -> None:
        self._device, self._scaling = device, scaling
        chains = scaling.of_bands(bands)
        self._is_fixed_z_score = scaling.is_fixed_z_score
        if self._is_fixed_z_score:
            numbers = [chain[0] for chain in chains]
            self._mean = _of_bands([float(one.first or 0) for one in numbers], device)
            self._factor = _of_bands([1.0 / float(one.second or 1) for one in numbers], device)
        else:
            self._steps = [_Step(chains, k, device) for k in range(max(map(len, chains)))]
            self._unit = _of_bands([unit[0] for unit in scaling.units], device, torch.float64)
            self._offset = _of_bands([unit[1] for unit in scaling.units], device, torch.float64)

    def scaled(self, values: Tensor, valid: Tensor | None) -> Tensor:
        """Return what the network sees.

        Parameters
        ----------
        values
            (batch, bands, T, T), of any type, anywhere; they stay as they are.
        valid
            (batch, T, T) or (batch, 1 or bands, T, T) bool: what is shown as it is; None: all.

        Returns
        -------
        Tensor
            (batch, bands, T, T) float32 on the device.
        """
        return self._z_scored(values, valid) if self._is_fixed_z_score else self._in_steps(values, valid)

    def _z_scored(self, values: Tensor, valid: Tensor | None) -> Tensor:
        """Return (value - mean) / std; 0, the band mean, if invalid or not finite."""
        floating = values.is_floating_point()
        image = values.to(self._device, non_blocking=True).to(torch.float32)
        # the values themselves stay as they are; what was converted or moved is a copy already
        image = image.sub(self._mean) if image is values else image.sub_(self._mean)
        image = image.mul_(self._factor)
        if floating:
            image = image.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        if valid is not None:
            keep = self._kept(valid)
            image = image.masked_fill_(~keep, 0.0)
        return image

    def _in_steps(self, values: Tensor, valid: Tensor | None) -> Tensor:
        image = self._physical(values)
        keep = None if valid is None else self._kept(valid)
        if values.is_floating_point():
            finite = image.isfinite()
            keep = finite if keep is None else keep & finite
            image = image.masked_fill_(~finite, 0.0)
        if keep is not None and self._device.type == "cpu" and bool(keep.all()):
            keep = None  # on a GPU to ask would be to wait
        fill = torch.full((1, image.shape[1], 1, 1), torch.nan, device=self._device)
        for step in self._steps:
            image, fill = step.applied(image, keep, fill)
        if keep is None:
            return image
        if not self._scaling.has_means:
            fill = torch.where(fill.isnan(), _tile_means(image, keep), fill)
        return torch.where(keep, image, fill)

    def _kept(self, valid: Tensor) -> Tensor:
        """Return (batch, 1 or bands, T, T) on the device."""
        moved = valid.to(self._device, non_blocking=True)
        return moved.unsqueeze(1) if moved.ndim == 3 else moved

    def _physical(self, values: Tensor) -> Tensor:
        """Return a copy as float32; of physical values each is computed in float64, as GDAL does."""
        moved = values.to(self._device, non_blocking=True)
        if not self._scaling.units:
            return moved.to(torch.float32, copy=moved is values)
        wide = moved.to(torch.float64, copy=moved is values)
        return wide.mul_(self._unit).add_(self._offset).to(torch.float32)

    def measured(self, values: Tensor, valid: Tensor) -> Scaling | None:
        """Return the scaling with the statistics of a scene, by pixels of it; None if a band has no valid one.

        Parameters
        ----------
        values
            (1, bands, rows, columns), of any type.
        valid
            (1, rows, columns) or (1, 1 or bands, rows, columns) bool.
        """
        if not self._scaling.is_measured_in_scene:
            return self._scaling
        image, keep = self._physical(values), self._kept(valid)
        finite = image.isfinite()
        keep = keep & finite
        image = image.masked_fill_(~finite, 0.0)
        if not bool(keep.flatten(2).any(2).all()):
            return None
        chains: list[Chain] = [()] * image.shape[1]
        fill = torch.zeros(1, image.shape[1], 1, 1, device=self._device)
        for step in self._steps:
            chains = [
                (*chain, *found) for chain, found in zip(chains, step.operations(image, keep), strict=True)
            ]
            image, fill = step.applied(image, keep, fill)
        return Scaling(tuple(chains), self._scaling.values, self._scaling.units)


def _tile_means(image: Tensor, keep: Tensor) -> Tensor:
    means = [
        mean_of(tile.flatten(1), mask.expand_as(tile).flatten(1))
        for tile, mask in zip(image, keep, strict=True)
    ]
    return torch.stack(means).to(torch.float32)[:, :, None, None]


@dataclass(frozen=True, slots=True)
class _Measured:
    """An operation with statistics, and the bands that it is done to."""

    operation: Operation
    bands: tuple[int, ...]


class _Step:
    """The operations in one position of all chains: ``limit((image - subtracted) / divisor)``."""

    def __init__(self, chains: tuple[Chain, ...], position: int, device: torch.device) -> None:
        self._all = [chain[position] if position < len(chain) else None for chain in chains]
        self._subtracted, self._divisor, self._low, self._high = (
            _of_bands(list(numbers), device) for numbers in zip(*map(_fixed_numbers, self._all), strict=True)
        )
        measured = dict.fromkeys(o for o in self._all if o is not None and o.first is None)
        self._measured = [
            _Measured(operation, tuple(n for n, other in enumerate(self._all) if other == operation))
            for operation in measured
        ]
        types = {operation.type for operation in self._all if operation is not None}
        self._is_affine = bool(types - {"clip", "clip-min", "clip-max"})
        self._is_limited = bool(types & {"clip", "clip-min", "clip-max"})
        self._is_z_score = torch.tensor(
            [operation is not None and operation.type == "z-score" for operation in self._all], device=device
        ).reshape(1, -1, 1, 1)
        leaves_zeros = [operation is not None and operation.nonzero for operation in self._all]
        self._leaves_zeros = (
            torch.tensor(leaves_zeros, device=device).reshape(1, -1, 1, 1) if any(leaves_zeros) else None
        )

    def applied(self, image: Tensor, keep: Tensor | None, fill: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image, changed in place, and what invalid pixels of every band become; NaN if no mean is known."""
        subtracted, divisor, low, high = self._numbers(image, keep)
        zeros = None if self._leaves_zeros is None else (image == 0) & self._leaves_zeros
        if self._is_affine:
            image, fill = image.sub_(subtracted).div_(divisor), (fill - subtracted) / divisor
            fill = fill.masked_fill(self._is_z_score, 0.0)
            image = image if zeros is None else image.masked_fill_(zeros, 0.0)
        if self._is_limited:
            image, fill = image.clamp_(low, high), fill.clamp(low, high)
        return image, fill

    def _numbers(self, image: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        fixed = (self._subtracted, self._divisor, self._low, self._high)
        if not self._measured:
            return fixed
        numbers = [part.repeat(len(image), 1, 1, 1) for part in fixed]
        for one in self._measured:
            found = self._of_tile(one, image, keep)
            pair = numbers[2:] if one.operation.type == "clip" else numbers[:2]
            bands = slice(None) if len(one.bands) == image.shape[1] else list(one.bands)
            for part, number in zip(pair, found, strict=True):
                part[:, bands] = number.expand(-1, len(one.bands), -1, -1)
        return numbers[0], numbers[1], numbers[2], numbers[3]

    def _of_tile(self, one: _Measured, image: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        bands = list(one.bands)
        whole = len(bands) == image.shape[1]
        mask = keep if keep is None or keep.shape[1] == 1 or whole else keep[:, bands]
        values = image if whole else image[:, bands]
        if one.operation.nonzero:
            mask = values != 0 if mask is None else mask & (values != 0)
        return tile_numbers(one.operation, values, mask)

    def operations(self, image: Tensor, keep: Tensor) -> list[Chain]:
        """Return the operation of every band, with the statistics of a scene."""
        found: list[Chain] = [() if operation is None else (operation,) for operation in self._all]
        for one in self._measured:
            if one.operation.statistics == "tile":
                continue
            first, second = (part.expand(-1, len(one.bands), -1, -1).flatten().tolist()
                             for part in self._of_tile(one, image, keep))  # fmt: skip
            for band, low, high in zip(one.bands, first, second, strict=True):
                top = low + high if one.operation.type == "min-max" else high
                found[band] = (replace(one.operation, first=low, second=top),)
        return found


def _fixed_numbers(operation: Operation | None) -> tuple[float, float, float, float]:
    """Return what is taken away, what is divided by, and the limits of one band; if measured, those of nothing."""
    subtracted, divisor, low, high = 0.0, 1.0, -torch.inf, torch.inf
    if operation is None or operation.first is None:
        return subtracted, divisor, low, high
    first, second = operation.first, operation.second or 0.0
    match operation.type:
        case "z-score":
            subtracted, divisor = first, second
        case "min-max":
            # of a scene: to a large band of one value nothing could be added
            subtracted, divisor = first, second - first if second - first >= SMALLEST else UNKNOWN_SCALE
        case "offset":
            subtracted = first
        case "scale":
            divisor = first
        case "clip":
            low, high = first, second
        case "clip-min":
            low = first
        case "clip-max":
            high = first
    return subtracted, divisor, low, high


def _of_bands(numbers: list[float], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(numbers, dtype=dtype, device=device).reshape(1, -1, 1, 1)
