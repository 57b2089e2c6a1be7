"""Dice of brain-tissue on its held-out slices, by where the edges of tiles fall on a slice.

    python -m benchmarks.accuracy.brain_tiles --data ../shared/data/brain

Training scores a sheet on which slices lie below each other, a run maps one slice after the other; both through
the same engine, in float32, with the same weights. Shown is Dice of grey and white matter, over all held-out
slices:

``run``         one tile covers a slice; beyond the slice its own pixels are mirrored
``gap``         one tile covers a slice; below it the sheet has rows without data (the band mean), as in training
``sheet``       the sheet of training: tiles start anywhere on a slice, and are blended where they overlap
``no overlap``  the sheet of training, every pixel from one tile alone
``tile N``      a run with tiles of N pixels: 128 is what the network was trained on
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.shared.commands import arguments_of
from segment_tiles.pipeline.grid.lattice import Lattice, overlap_pixels
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.learning.data.slices import ProbabilityLabels, open_sheet
from segment_tiles.pipeline.learning.scene_settings import SliceSettings
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.sources.array import ArraySource

HELD_OUT = (85, 104)
GAP_OF_TRAINING = 48


class Slices:
    """The held-out slices on a sheet, or each alone, with their true classes."""

    def __init__(self, data: Path, names: Sequence[str], gap: int) -> None:
        paths = {"grey matter": str(data / "gm.nii.gz"), "white matter": str(data / "wm.nii.gz")}
        settings = SliceSettings(first=20, last=170, gap=gap, label_probabilities=paths)
        self.sheet, layout = open_sheet(str(data / "t1.nii.gz"), settings)
        self.labels = ProbabilityLabels(paths, "other", settings, layout, names)
        self.windows = layout.windows_of(*HELD_OUT)

    def alone(self) -> Iterator[tuple[ArraySource, Window]]:
        """Yield every slice as a source of its own."""
        for window in self.windows:
            yield ArraySource(self.sheet.read(window)), Window(0, 0, window.height, window.width)

    def on_sheet(self) -> Iterator[tuple[ArraySource, Window]]:
        """Yield the sheet and the window of every slice."""
        for window in self.windows:
            yield self.sheet, window

    def truth(self) -> NDArray[Any]:
        """Return class codes, slices x rows x columns."""
        return np.stack([self.labels.read(window) for window in self.windows])


def mapped(segmenter: Segmenter, parts: Iterator[tuple[ArraySource, Window]], tile: int, share: float) -> Any:
    """Return class codes, slices x rows x columns, with tiles of this side and overlap."""
    maps = []
    overlap = overlap_pixels(tile, share, segmenter.manifest.architecture.output_stride)
    for source, window in parts:
        lattice = Lattice(source.spec.height, source.spec.width, tile, overlap)
        stream = RegionStream(source, segmenter, lattice, window, blend="gaussian", batch=4)
        maps.append(np.concatenate([rows.classes for rows in stream]))
    return np.stack(maps)


def main() -> None:
    """Print a table."""
    parser = arguments_of(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    folder = find_model("brain-tissue")
    manifest = load_manifest(folder)
    network = load_network(folder, manifest)
    whole = Segmenter(network, manifest, torch.device("cpu"))
    training = Slices(data, manifest.classes.names, GAP_OF_TRAINING)
    stride = manifest.tile - overlap_pixels(manifest.tile, manifest.overlap, 16)
    # every slice starts with a tile
    aligned = Slices(data, manifest.classes.names, 2 * stride - training.windows[0].height)
    truth = training.truth()

    def on_slices(segmenter: Segmenter, side: int) -> Any:
        return mapped(segmenter, training.alone(), side, manifest.overlap)

    cases: list[tuple[str, Callable[[], Any]]] = [
        ("run", partial(on_slices, whole, manifest.tile)),
        ("gap", lambda: mapped(whole, aligned.on_sheet(), manifest.tile, manifest.overlap)),
        ("sheet", lambda: mapped(whole, training.on_sheet(), manifest.tile, manifest.overlap)),
        ("no overlap", lambda: mapped(whole, training.on_sheet(), manifest.tile, 0.0)),
    ]
    for side in (128, 192, 512):
        resized = Segmenter(network, replace(manifest, tile=side), torch.device("cpu"))
        cases.append((f"tile {side}", partial(on_slices, resized, side)))
    print(f"{'':12} grey matter  white matter")
    for name, made in cases:
        codes = made()
        scores = [
            2 * ((codes == code) & (truth == code)).sum() / ((codes == code).sum() + (truth == code).sum())
            for code in (1, 2)
        ]
        print(f"{name:12} {scores[0]:11.4f}  {scores[1]:12.4f}", flush=True)


if __name__ == "__main__":
    main()
