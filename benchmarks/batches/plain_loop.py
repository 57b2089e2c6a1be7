"""What a user writes for many small pictures: load the network once, and for each read, compute and write a GeoTIFF.

python -m benchmarks.batches.plain_loop MODEL OUT PICTURE... [--way plain | monai | geo-inference | network-alone]

plain           the picture at once, in one tile
monai           windows of 512 px with 25 % overlap and Gaussian weights, by MONAI's sliding_window_inference
geo-inference   GeoInference of every picture, patches of 512 px, of the network as TorchScript with its scaling inside
network-alone   reads the first picture, computes it as often as there are pictures, and writes nothing
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rasterio
import torch

from benchmarks.shared.commands import arguments_of
from segment_tiles.pipeline.models.package import load_manifest, load_network

MULTIPLE = 32
"""Sides of the network's input are multiples of it."""
ClassesOf = Callable[[np.ndarray], np.ndarray]


def loaded(folder: Path, way: str) -> ClassesOf:
    """Load the network, and return what gives the classes of a picture (bands, rows, columns)."""
    manifest = load_manifest(folder)
    network = load_network(folder, manifest).eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (manifest.mean, manifest.std))

    def scaled(values: np.ndarray) -> torch.Tensor:
        image = (torch.from_numpy(values)[None].float() - mean) / std
        return image.to(memory_format=torch.channels_last)

    if way == "monai":
        from monai.inferers.utils import sliding_window_inference  # noqa: PLC0415 - only for this one

        @torch.inference_mode()
        def by_windows(values: np.ndarray) -> np.ndarray:
            scores = sliding_window_inference(
                scaled(values), (512, 512), 1, network, overlap=0.25, mode="gaussian"
            )
            assert isinstance(scores, torch.Tensor), "one output, one tensor"
            codes: np.ndarray = scores.argmax(1)[0].to(torch.uint8).numpy()
            return codes

        return by_windows

    @torch.inference_mode()
    def at_once(values: np.ndarray) -> np.ndarray:
        height, width = values.shape[1:]
        padded = np.pad(values, [(0, 0), (0, -height % MULTIPLE), (0, -width % MULTIPLE)], mode="reflect")
        codes: np.ndarray = network(scaled(padded)).argmax(1)[0, :height, :width].to(torch.uint8).numpy()
        return codes

    return at_once


class Scripted(torch.nn.Module):
    """The network with its scaling inside, as geo-inference takes it: raw values in, logits out."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        manifest = load_manifest(folder)
        self.network = load_network(folder, manifest).eval()
        self.mean, self.std = (
            torch.tensor(values).reshape(1, -1, 1, 1) for values in (manifest.mean, manifest.std)
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, classes, rows, columns)."""
        logits: torch.Tensor = self.network((values.float() - self.mean) / self.std)
        return logits


def write_scripted(folder: Path, path: Path) -> None:
    """Write the TorchScript file of a model package, for tiles of 512 px."""
    manifest = load_manifest(folder)
    with torch.inference_mode():
        sample = torch.zeros(1, len(manifest.bands), 512, 512)
        traced = torch.jit.trace(Scripted(folder).eval(), sample)  # type: ignore[no-untyped-call]
        traced.save(path)


def map_by_geo_inference(scripted: Path, out: Path, pictures: Sequence[str]) -> None:
    """Do what geo-inference's documentation shows, on its own threads."""
    from geo_inference.geo_inference import GeoInference  # noqa: PLC0415 - only for this one

    geo_inference = GeoInference(model=str(scripted), work_dir=str(out), device="cpu", num_classes=2)
    for name in pictures:
        geo_inference(inference_input=name, bands_requested=["1", "2", "3"], patch_size=512)


def main() -> None:
    """Write the class map of every picture."""
    parser = arguments_of(__doc__)
    parser.add_argument("model", type=Path, help="package; for geo-inference what write_scripted wrote")
    parser.add_argument("out", type=Path)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument(
        "--way", choices=("plain", "monai", "geo-inference", "network-alone"), default="plain"
    )
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.way == "geo-inference":
        map_by_geo_inference(asked.model, asked.out, asked.pictures)
        return
    classes_of = loaded(asked.model, asked.way)
    if asked.way == "network-alone":
        with rasterio.open(asked.pictures[0]) as source:
            values = source.read()
        for _ in asked.pictures:
            classes_of(values)
        return
    for name in asked.pictures:
        with rasterio.open(name) as source:
            values, profile = source.read(), source.profile
        classes = classes_of(values)
        profile.update(driver="GTiff", count=1, dtype="uint8", compress="deflate", nodata=None)
        with rasterio.open(asked.out / Path(name).name, "w", **profile) as target:
            target.write(classes, 1)


if __name__ == "__main__":
    main()
