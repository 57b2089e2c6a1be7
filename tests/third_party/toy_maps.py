"""A third party's module: what it adds to segment-tiles, from outside, through entry points alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.models.backends.torch_eager import TorchEager
from segment_tiles.pipeline.models.checkpoints.translation import ImportedWeights, ImportOptions
from segment_tiles.pipeline.models.packages.manifest import Architecture
from segment_tiles.pipeline.sources.array import ArraySource
from segment_tiles.pipeline.vectors.files.formats import VectorFormat
from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.workflows.results.formats.format import Format, Work
from segment_tiles.workflows.results.formats.vectors import polygon_format
from segment_tiles.workflows.scenes.cut import Cut
from segment_tiles.workflows.scenes.rasters.kind import RasterKind
from segment_tiles.workflows.scenes.scene import Models, Scene

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


@dataclass(frozen=True)
class ToyOpener:
    """Opens a picture that NumPy saved: bands x rows x columns."""

    path: str

    def open(self) -> ToyOpener:
        """Return itself: a file that is mapped needs no handle."""
        return self

    def sources(self, numbers: Sequence[int]) -> Iterator[ArraySource]:
        """Yield the one plane."""
        for _ in numbers:
            yield ArraySource(np.load(self.path, mmap_mode="r"))

    def look(self) -> None:
        """Refuse a file that is not there."""
        np.load(self.path, mmap_mode="r")

    def close(self) -> None:
        """Nothing to release."""


class ToyKind(RasterKind):
    """Pictures that NumPy saved, which GDAL does not read; else they are rasters."""

    name: ClassVar[str] = "picture"
    turn: ClassVar[int] = 0
    is_placed: ClassVar[bool] = True

    def recognises(self, uri: str, view: Any) -> bool:
        """Return whether the name says so."""
        return uri.endswith(".npy")

    def open(self, config: Any, models: Models) -> Scene:
        """Return its one Cut."""
        opener = ToyOpener(str(Path(config.source).absolute()))
        (source,) = opener.sources([0])
        lattice = Lattice(source.spec.height, source.spec.width, models.tile, models.overlap)
        cut = Cut(self.name, source.spec, lattice, source.spec.window, opener)
        return Scene(config.source, self.name, (cut,), (1, 2, 3), models.manifest, models.folder)

    def cuts_in_work(self, scene: Scene, *_rest: Any) -> tuple[Cut, ...]:
        """Return the Cut as it is."""
        return scene.cuts

    def picture(self, path: Path, scene: Scene, *_rest: Any) -> None:
        """Draw the picture alone."""
        (source,) = scene.result.opener.open().sources([0])
        Image.fromarray(np.moveaxis(source.read(source.spec.window), 0, -1)).save(path)


KIND = ToyKind()
