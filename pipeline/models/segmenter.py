"""Segmenter: weights, normalisation and class table; a batch of tiles in, probabilities out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.crf import crf_parameters, refine_batch
from segment_tiles.pipeline.models.folding import fold_batch_norms
from segment_tiles.pipeline.models.manifest import ModelManifest

PRECISIONS: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""Types in which the network may run; softmax and everything after it is float32."""


FOLDING_SAMPLE_SIDE = 128
"""Side in pixels of the sample on which the folded network must answer as the network itself."""


class Segmenter:
    """A network ready to run: batch norms folded, channels last, in one precision on one device.

    Parameters
    ----------
    network
        Maps normalised float (batch, bands, T, T) to logits (batch, classes, T, T); kept as it is,
        a folded copy runs.
    manifest
        Normalisation and classes.
    device
        Where it runs.
    precision
        fp32, bf16 or fp16.
    """

    def __init__(
        self, network: nn.Module, manifest: ModelManifest, device: torch.device, precision: str = "fp32"
    ) -> None:
        self.manifest, self.classes = manifest, manifest.classes
        self.device, self.precision = device, precision
        self._dtype = PRECISIONS[precision]
        side = min(manifest.tile, FOLDING_SAMPLE_SIDE)
        noise = torch.randn((1, len(manifest.bands), side, side), generator=torch.Generator().manual_seed(0))
        folded = fold_batch_norms(network.eval(), noise)
        self.folded_batch_norms = folded.count
        network = folded.network.to(device=device, dtype=self._dtype).to(memory_format=torch.channels_last)
        self.network = network.requires_grad_(requires_grad=False)
        self._crf = crf_parameters(manifest.extra, len(manifest.bands))
        shape = (1, len(manifest.bands), 1, 1)
        self._mean = torch.tensor(manifest.mean, dtype=torch.float32, device=device).reshape(shape)
        self._scale = torch.tensor(
            [1.0 / value for value in manifest.std], dtype=torch.float32, device=device
        ).reshape(shape)

    @torch.inference_mode()
    def scores(self, values: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return class probabilities.

        Parameters
        ----------
        values
            (batch, bands, T, T), raw values of the raster in its own type.
        valid
            (batch, T, T) bool; invalid pixels are shown to the network as the band mean. None: all valid.

        Returns
        -------
        Tensor
            (batch, classes, T, T), float32, sums to 1 over classes.

        Raises
        ------
        ModelError
            Where the network gives another number of classes than the class table has.
        """
        logits = self.network(self.normalized(values, valid)).float()
        if logits.shape[1] != self.classes.count:
            msg = (
                f"model {self.manifest.name}: gives {logits.shape[1]} classes, "
                f"but its class table has {self.classes.count}"
            )
            raise ModelError(msg)
        probabilities = torch.softmax(logits, dim=1)
        return probabilities if self._crf is None else refine_batch(probabilities, values, self._crf)

    def normalized(self, values: Tensor, valid: Tensor | None) -> Tensor:
        """Return what the network sees: (value - mean) / std; 0, the band mean, where invalid or NaN."""
        floating = values.is_floating_point()
        image = values.to(self.device, non_blocking=True).to(torch.float32)
        image = image.sub(self._mean).mul_(self._scale)
        if floating:
            image = image.nan_to_num_(nan=0.0)
        if valid is not None:
            keep = valid.to(self.device, non_blocking=True).unsqueeze(1)
            image = image.masked_fill_(~keep, 0.0)
        return image.to(dtype=self._dtype, memory_format=torch.channels_last)

    @property
    def parameter_bytes(self) -> int:
        """Bytes of the weights in this precision."""
        return sum(p.numel() * p.element_size() for p in self.network.parameters())
