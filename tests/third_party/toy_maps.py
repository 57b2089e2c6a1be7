"""A third party's module: what it adds to segment-tiles, from outside, through entry points alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from segment_tiles.pipeline.models.backends.torch_eager import TorchEager
from segment_tiles.pipeline.models.checkpoints.translation import ImportedWeights, ImportOptions
from segment_tiles.pipeline.models.packages.manifest import Architecture
from segment_tiles.pipeline.vectors.files.formats import VectorFormat
from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.workflows.results.formats.format import Format, Work
from segment_tiles.workflows.results.formats.vectors import polygon_format

PREFIX = "toys/"


def _make_numpy(work: Work, formats: Sequence[Format]) -> Sequence[str]:
    work.stage(NUMPY.file)
    np.save(work.folder / NUMPY.file, np.asarray(work.group["classes"][:]))
    return ("numpy knows no CRS",)


NUMPY = Format(
    "numpy",
    "classes.npy",
    ("raster", "volume"),
    _make_numpy,
    title="Class codes as an array",
    media_type="application/x-npy",
    key="toy",
)


def write_areas(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write class and area of every polygon."""
    rows = [batch for part in layer.part_batches() for batch in layer.columns(part).to_pylist()]
    path.write_text("".join(f"{row['class_name']},{row[layer.measure.area_column]}\n" for row in rows))
    return ()


AREAS = polygon_format(VectorFormat("areas", (".areas.csv",), "toy_maps:write_areas", "text/csv"))


class ToyReader:
    """Reads checkpoints whose names begin with toys/."""

    SOURCE = "toy-zoo"

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        """Return whether they do."""
        return bool(state) and all(key.startswith(PREFIX) for key in state)

    def translate(self, state: Mapping[str, Tensor], options: ImportOptions) -> ImportedWeights:
        """Take the beginning away."""
        tensors = {key.removeprefix(PREFIX): tensor for key, tensor in state.items()}
        architecture = Architecture("deeplabv3plus", "resnet10t", output_stride=16, image_pooling="off")
        return ImportedWeights(self.SOURCE, architecture, 3, 3, tensors)


READER = ToyReader()


class ToyBackend(TorchEager):
    """The network as it is, under another name."""

    name = "toy"
    conversion_seconds = 1.0


BACKEND = ToyBackend()
