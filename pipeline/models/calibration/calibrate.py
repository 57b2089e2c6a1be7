"""Calibrates a model for int8 on real tiles, and judges it as it goes by the classes that float32 gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segment_tiles.pipeline.models.backends.int8 import Run, quantized
from segment_tiles.pipeline.models.backends.openvino import converted
from segment_tiles.pipeline.models.backends.protocol import Preparation
from segment_tiles.pipeline.models.calibration.calibrated import Calibrated, pack
from segment_tiles.pipeline.models.graphs.rewriting import Rewritten
from segment_tiles.pipeline.models.inference_network import rewritten_for
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.precision import Sample, decided_pixels
from segment_tiles.pipeline.models.segmenter import Segmenter


def calibrate(
    network: nn.Module | Rewritten,
    manifest: ModelManifest,
    folder: Path,
    sample: Sample,
    description: Mapping[str, Any],
) -> Calibrated:
    """Return a calibrated network.

    Parameters
    ----------
    network, manifest, folder
        A model package; the network stays as it is.
    sample
        Tiles with data; their side is that for which the network is calibrated.
    description
        What else there is to say of it, such as the names of the scenes.

    Raises
    ------
    ModelError
        If this network cannot be converted or quantised.
    """
    device, side = torch.device("cpu"), int(sample.values.shape[-1])
    float32 = Segmenter(network, manifest, device, tile=side, folder=folder)
    shape = (1, len(manifest.bands), side, side)
    preparation = Preparation(shape, device, "fp32", manifest.network_checksum, folder)
    graph = converted(rewritten_for(network, manifest).network, preparation)
    judge = _Judge(float32, sample)
    files, found = quantized(graph, judge.images, judge.agreement)
    return pack(files, {"model": manifest.name, "side": side, **found, **description})


class _Judge:
    """What float32 says of the tiles of a sample."""

    def __init__(self, float32: Segmenter, sample: Sample) -> None:
        self._float32, self.images = float32, list[NDArray[np.float32]]()
        self._classes, self._decided = list[Tensor](), list[Tensor]()
        for index in range(sample.count):
            values, valid = sample.batch(index, 1)
            scores = float32.scores(values, valid)
            decided = decided_pixels(scores)
            self._decided.append(decided if valid is None else decided & valid)
            # not the scores themselves: of many classes they would take gigabytes
            self._classes.append(scores.argmax(1).to(torch.int16))
            self.images.append(float32.normalized(values, valid).contiguous().numpy())

    @torch.inference_mode()
    def agreement(self, run: Run, index: int) -> float:
        """Return the share of decided pixels of a tile that keep their class; 1 if none is decided."""
        decided = self._decided[index]
        if not decided.any():
            return 1.0
        logits = self._float32.placed(torch.from_numpy(run(self.images[index])), self.images[index].shape[-1])
        return float((logits.argmax(1) == self._classes[index])[decided].double().mean())
