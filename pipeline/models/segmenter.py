"""Segmenter: weights, scaling and class table; a batch of tiles in, probabilities out."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.backends.known import require_backend
from segment_tiles.pipeline.models.backends.protocol import Preparation
from segment_tiles.pipeline.models.backends.torch_eager import PRECISIONS
from segment_tiles.pipeline.models.backends.torch_threads import batches_of_streams
from segment_tiles.pipeline.models.calibration.calibrated import INT8, Calibrated
from segment_tiles.pipeline.models.graphs.rewriting import Rewritten, Upsampling
from segment_tiles.pipeline.models.inference_network import rewritten_for
from segment_tiles.pipeline.models.networks.crf import crf_parameters, refine_batch
from segment_tiles.pipeline.models.packages.geometry import OutputGeometry, middle
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.scaling.scaler import Scaler
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.wording import counted

__all__ = ["PRECISIONS", "Segmenter"]

BYTES_OF_A_WEIGHT: Final = {INT8: 1, **{name: dtype.itemsize for name, dtype in PRECISIONS.items()}}


class Segmenter:
    """A network ready to run: rewritten for inference, by one backend, in one precision on one device.

    Parameters
    ----------
    network
        Maps scaled float (batch, bands, T, T) to logits (batch, classes, T, T), or as `manifest.output` has
        them; or what was rewritten of one before. It stays as it is: a copy runs, unless `takes_network`.
    manifest
        Scaling and classes.
    device
        Where it runs.
    precision
        fp32, bf16, fp16 or int8.
    backend
        torch, compile, openvino or onnx; all but the first run tiles of one number and one side.
    batch, tile
        That number, and that side; the model's if it is None.
    folder
        Package of the model, beside which a conversion may be kept.
    calibrated
        Of int8: the network with the ranges of its activations.
    keeps_coarse
        Whether a coarser output stays as coarse as it is: scores are (batch, classes, T / k, T / k) then.
    takes_network
        What was rewritten before runs itself: nobody else needs it, and a copy takes a quarter of a second.

    Raises
    ------
    MissingExtraError, UsageError, ModelError
        If the backend is not installed or cannot run this network.
    """

    def __init__(
        self,
        network: nn.Module | Rewritten,
        manifest: ModelManifest,
        device: torch.device,
        precision: str = "fp32",
        *,
        backend: str = "torch",
        batch: int = 1,
        tile: int | None = None,
        folder: Path | None = None,
        calibrated: Calibrated | None = None,
        takes_network: bool = False,
        keeps_coarse: bool = False,
    ) -> None:
        self.manifest, self.classes = manifest, manifest.classes
        self.device, self.precision, self.backend = device, precision, backend
        runs = require_backend(backend, device, manifest)
        if not (takes_network and isinstance(network, Rewritten)):
            network = rewritten_for(network, manifest)
        rewritten = network
        self.folded_batch_norms = rewritten.folded_batch_norms
        tile = tile or manifest.tile
        preparation = Preparation(
            (batch, len(manifest.bands), tile, tile),
            device,
            precision,
            manifest.network_checksum,
            folder,
            calibrated,
        )
        parameters = sum(p.numel() for p in rewritten.network.parameters())
        self.parameter_bytes = parameters * BYTES_OF_A_WEIGHT[precision]
        """Bytes of the weights in this precision."""
        self.network, self._upsampling = runs.prepare(rewritten.network, preparation), rewritten.upsampling
        self.batches_at_once = runs.batches_at_once(device, precision)
        """Batches that keep the device busy, each in `scores` in a thread of its own."""
        self.batches_of_streams = (
            batches_of_streams(backend, self.batches_at_once)
            if device.type == "cpu"
            else self.batches_at_once
        )
        """The same of several streams; further ones wait."""
        self._turns = threading.BoundedSemaphore(self.batches_of_streams)
        self._dtype = runs.input_type(precision, device)
        self._layout = torch.channels_last if runs.channels_last else torch.contiguous_format
        self._finer = None if keeps_coarse else _finer(manifest.output)
        self._crf = crf_parameters(manifest.extra, len(manifest.bands))
        self._scaler = _scaler(manifest, device)

    def scaled_by(self, scaling: Scaling | None) -> Segmenter:
        """Return the same network, which shares all that is loaded, with another scaling; None: that of the package."""
        other = copy.copy(self)
        other.manifest = replace(self.manifest, run_scaling=scaling)
        other._scaler = _scaler(other.manifest, self.device)
        return other

    @torch.inference_mode()
    def scores(self, values: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return class probabilities.

        Parameters
        ----------
        values
            (batch, bands, T, T), raw values of the raster in its own type.
        valid
            (batch, T, T) bool, or (batch, bands, T, T) where single bands lack values; what is invalid is shown to the
            network as the mean of the band. None: all valid.

        Returns
        -------
        Tensor
            (batch, classes, T, T), float32, sums to 1 over classes; without the margin of a network that crops.

        Raises
        ------
        ModelError
            If the network gives another number of classes than the class table has.
        """
        with self._turns:
            return self._scores(values, valid)

    def _scores(self, values: Tensor, valid: Tensor | None) -> Tensor:
        logits = self.logits(self.normalized(values, valid))
        if logits.shape[1] != self.classes.count:
            msg = (
                f"model {self.manifest.name}: gives {counted(logits.shape[1], 'class', 'classes')}, "
                f"but its class table has {self.classes.count}"
            )
            raise ModelError(msg)
        probabilities = self._probabilities(logits)
        if self._crf is None:
            return probabilities
        return refine_batch(probabilities, middle(values, self.manifest.output.margin), self._crf)

    def _probabilities(self, answer: Tensor) -> Tensor:
        """Return probabilities of what the network answers: logits, or these; NaN where it is no number."""
        if self.manifest.architecture.gives_probabilities:
            return answer.clamp(0, 1)
        return _sigmoid(answer) if self.manifest.output.multi_label else torch.softmax(answer, dim=1)

    def logits(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes, T, T), float32, of what `normalized` returns; without a margin."""
        return self.placed(self.network(image), image.shape[-1])

    def placed(self, logits: Tensor, side: int) -> Tensor:
        """Return what a backend gives of tiles of a side as logits at their pixels, without a margin, float32.

        Parameters
        ----------
        logits
            (batch, classes, h, w).
        side
            T, of the tiles.

        Raises
        ------
        ModelError
            If the manifest says of the output what is not so.
        """
        scored = self.manifest.output.scored(side)
        if self._upsampling is not None:
            return self._upsampling(logits.float(), scored)
        if logits.shape[-1] * self.manifest.output.coarser != scored:
            msg = (
                f"model {self.manifest.name}: answers a tile of {side} px by {tuple(logits.shape[2:])}; its manifest "
                f"says {scored // self.manifest.output.coarser} px"
            )
            raise ModelError(msg)
        return logits.float() if self._finer is None else self._finer(logits, scored)

    def normalized(self, values: Tensor, valid: Tensor | None) -> Tensor:
        """Return what the network sees, as the scaling of the model says, in the type and layout of the backend."""
        if self._scaler is None:
            msg = (
                f"model {self.manifest.name}: its scaling is {self.manifest.scaling_used}, and no scene was measured "
                "for it; a run does that"
            )
            raise ModelError(msg)
        image = self._scaler.scaled(values, valid)
        # in two steps: torch converts type and layout at once value by value, which is slower than both in turn
        return image.to(self._dtype).contiguous(memory_format=self._layout)


def _finer(output: OutputGeometry) -> Upsampling | None:
    """Return what makes logits as fine as the tile; None if they are."""
    return Upsampling(align_corners=output.align_corners) if output.coarser > 1 else None


def _scaler(manifest: ModelManifest, device: torch.device) -> Scaler | None:
    """Return what computes the scaling; None if it needs the statistics of a scene, which nobody has measured yet."""
    scaling = manifest.scaling_used
    return None if scaling.is_measured_in_scene else Scaler(scaling, len(manifest.bands), device)


def _sigmoid(logits: Tensor) -> Tensor:
    """Return a probability for each class by itself; NaN where a logit is no number or +infinity, as softmax has it."""
    return torch.sigmoid(logits).masked_fill_(logits == float("inf"), float("nan"))
