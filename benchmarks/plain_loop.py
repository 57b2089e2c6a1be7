"""What a user writes for many small pictures: load the network once, and for each read, compute and write a GeoTIFF.

python benchmarks/plain_loop.py MODEL_FOLDER OUT PICTURE...

With --network-alone for OUT it reads the first picture, computes it as often as there are pictures, and writes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import rasterio
import torch

from segment_tiles.pipeline.models.package import load_manifest, load_network

MULTIPLE = 32
"""Sides of the network's input are multiples of it."""


def main() -> None:
    """Write the class map of every picture, at once and in one tile."""
    folder, out, names = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    manifest = load_manifest(folder)
    network = load_network(folder, manifest).eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (manifest.mean, manifest.std))

    def classes_of(values: np.ndarray) -> np.ndarray:
        height, width = values.shape[1:]
        padded = np.pad(values, [(0, 0), (0, -height % MULTIPLE), (0, -width % MULTIPLE)], mode="reflect")
        with torch.inference_mode():
            image = ((torch.from_numpy(padded)[None].float() - mean) / std).to(
                memory_format=torch.channels_last
            )
            return network(image).argmax(1)[0, :height, :width].to(torch.uint8).numpy()

    if out == "--network-alone":
        with rasterio.open(names[0]) as source:
            values = source.read()
        for _ in names:
            classes_of(values)
        return
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in names:
        with rasterio.open(name) as source:
            values, profile = source.read(), source.profile
        classes = classes_of(values)
        profile.update(driver="GTiff", count=1, dtype="uint8", compress="deflate", nodata=None)
        with rasterio.open(Path(out) / Path(name).name, "w", **profile) as target:
            target.write(classes, 1)


if __name__ == "__main__":
    main()
