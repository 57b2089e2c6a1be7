"""The contenders of peers.py: each gets a raster and a model ready, and returns the work that is timed.

Peers are written as their own documentation shows them, with the same weights, normalisation and tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.windows import Window as RasterioWindow

from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.models.backends.known import BACKENDS
from segment_tiles.pipeline.models.backends.protocol import Preparation
from segment_tiles.pipeline.models.backends.torch_threads import torch_threads
from segment_tiles.pipeline.models.devices import synchronize
from segment_tiles.pipeline.models.graphs.folding import fold_batch_norms
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.segmenter import Segmenter

TILE, OVERLAP = 512, 128
STRIDE = TILE - OVERLAP
Work = Callable[[], Any]


@dataclass(frozen=True)
class Job:
    """What a contender is to do."""

    raster: Path
    model: Path
    out: Path
    backend: str
    precision: str
    batch: int
    device: torch.device
    is_warm: bool = True
    """Whether one pass comes before what is timed."""


def floor(job: Job, *, rewritten: bool = False) -> Work:
    """The network alone, as its class computes logits: as many tiles as the lattice has, in the same batches.

    Its batch norms are folded, which is more than a bare network has; what else we rewrite is ours to gain. Where
    the floor is to be `rewritten` too, it is the whole forward pass to logits as `run` has it.
    """
    manifest = load_manifest(job.model)
    bands = len(manifest.bands)
    network, backend = load_network(job.model, manifest).eval(), BACKENDS[job.backend]
    shape = (job.batch, bands, TILE, TILE)
    run: Callable[[torch.Tensor], torch.Tensor]
    if rewritten:
        run = Segmenter(
            network, manifest, job.device, job.precision,
            backend=job.backend, batch=job.batch, tile=TILE, folder=job.model,
        ).logits  # fmt: skip
    else:
        folded = fold_batch_norms(network, torch.randn(1, bands, 128, 128)).network
        key = f"{manifest.weights_checksum} bare"
        run = backend.prepare(folded, Preparation(shape, job.device, job.precision, key, job.model))
    with rasterio.open(job.raster) as dataset:
        batches = -(-Lattice(dataset.height, dataset.width, TILE, OVERLAP).count // job.batch)
    layout = torch.channels_last if backend.channels_last else torch.contiguous_format
    image = torch.randn(shape).to(job.device, backend.input_type(job.precision, job.device))
    image = image.contiguous(memory_format=layout)

    at_once = backend.batches_at_once(job.device, job.precision)

    @torch.inference_mode()
    def forward(_: int) -> None:
        run(image)

    def work() -> None:
        if at_once == 1:
            for number in range(batches):
                forward(number)
        else:
            with torch_threads(job.backend, at_once), ThreadPoolExecutor(at_once) as pool:
                list(pool.map(forward, range(batches)))
        synchronize(job.device)

    for number in range(at_once):
        forward(number)
    synchronize(job.device)
    return work


def ours(job: Job) -> Work:
    """A run of the whole raster in a process that has run before: from the GeoTIFF to Zarr with confidence.

    What it does returns the seconds of computing: Regions, from the GeoTIFF to whole shards, without what is before and
    after them.
    """
    from benchmarks.shared.quiet import Quiet  # noqa: PLC0415
    from segment_tiles.pipeline.sources.open import open_source  # noqa: PLC0415
    from segment_tiles.workflows.config import RunConfig  # noqa: PLC0415
    from segment_tiles.workflows.regions.loaded_model import segmenters_kept  # noqa: PLC0415
    from segment_tiles.workflows.run.segment import segment  # noqa: PLC0415

    config = RunConfig(
        str(job.raster), str(job.model), job.out / "run", tile=TILE, overlap=OVERLAP / TILE, device=str(job.device),
        precision=job.precision, backend=job.backend, batch=job.batch, formats=("zarr",), preview=False, item=False,
        restart=True,
    )  # fmt: skip
    with closing(open_source(str(job.raster))) as source:
        first = source.spec.georef.bounds(Window(0, 0, TILE, TILE))

    def work() -> float:
        return float(segment(config, Quiet()).report["seconds"]["segment"])

    stack = ExitStack()
    stack.enter_context(segmenters_kept())  # until the process ends
    segment(replace(config, out=job.out / "warm", roi=first), Quiet())
    return work


def _plain_network(job: Job) -> tuple[Any, torch.Tensor, torch.Tensor, int]:
    manifest = load_manifest(job.model)
    mean = torch.tensor(manifest.mean).reshape(1, -1, 1, 1).to(job.device)
    std = torch.tensor(manifest.std).reshape(1, -1, 1, 1).to(job.device)
    network = load_network(job.model, manifest).eval().to(job.device)
    if job.is_warm:
        with torch.inference_mode():
            network(torch.zeros(1, len(manifest.bands), TILE, TILE, device=job.device))
    return network, mean, std, manifest.classes.count


def _write(job: Job, profile: Any, codes: np.ndarray[Any, Any]) -> None:
    with rasterio.open(job.out / "classes.tif", "w", **{**profile, "count": 1}) as dataset:
        dataset.write(codes, 1)


def monai(job: Job) -> Work:
    """sliding_window_inference, gaussian, as its documentation shows it."""
    from monai.inferers.utils import sliding_window_inference  # noqa: PLC0415

    network, mean, std, _ = _plain_network(job)

    @torch.inference_mode()
    def work() -> None:
        with rasterio.open(job.raster) as dataset:
            image = torch.from_numpy(dataset.read()).to(job.device).float()[None]
            profile = dataset.profile
        image = (image - mean) / std
        logits = sliding_window_inference(image, (TILE, TILE), 4, network, overlap=0.25, mode="gaussian")
        assert isinstance(logits, torch.Tensor), "one output, one tensor"
        _write(job, profile, logits.argmax(1)[0].to(torch.uint8).cpu().numpy())

    return work


def pytorch_toolbelt(job: Job) -> Work:
    """ImageSlicer and TileMerger, pyramid weights, as its README shows them."""
    from pytorch_toolbelt.inference.tiles import ImageSlicer, TileMerger  # noqa: PLC0415
    from pytorch_toolbelt.utils.torch_utils import image_to_tensor, to_numpy  # noqa: PLC0415
    from torch.utils.data import DataLoader  # noqa: PLC0415

    network, mean, std, classes = _plain_network(job)

    @torch.inference_mode()
    def work() -> None:
        with rasterio.open(job.raster) as dataset:
            image, profile = np.moveaxis(dataset.read(), 0, -1), dataset.profile
        tiler = ImageSlicer(image.shape, tile_size=(TILE, TILE), tile_step=(STRIDE, STRIDE), weight="pyramid")
        tiles = [image_to_tensor(tile) for tile in tiler.split(image)]
        merger = TileMerger(tiler.target_shape, classes, tiler.weight, device=job.device)
        pinned = job.device.type == "cuda"
        pairs: Any = list(zip(tiles, tiler.crops, strict=True))
        for batch, positions in DataLoader(pairs, 8, pin_memory=pinned):
            merger.integrate_batch(network((batch.to(job.device).float() - mean) / std), positions)
        merged = np.moveaxis(to_numpy(merger.merge()), 0, -1)
        _write(job, profile, tiler.crop_to_orignal_size(merged).argmax(-1).astype(np.uint8))

    return work


def plain_loop(job: Job) -> Work:
    """Read a window with its halo, run the network, keep the middle, write it."""
    network, mean, std, _ = _plain_network(job)
    halo = OVERLAP // 2

    @torch.inference_mode()
    def work() -> None:
        with rasterio.open(job.raster) as dataset:
            profile = {**dataset.profile, "count": 1}
            with rasterio.open(job.out / "classes.tif", "w", **profile) as result:
                for top in range(0, dataset.height, STRIDE):
                    for left in range(0, dataset.width, STRIDE):
                        window = RasterioWindow(left - halo, top - halo, TILE, TILE)
                        values = torch.from_numpy(dataset.read(window=window, boundless=True))
                        image = (values.to(job.device).float()[None] - mean) / std
                        codes = network(image).argmax(1)[0].to(torch.uint8).cpu().numpy()
                        height, width = min(STRIDE, dataset.height - top), min(STRIDE, dataset.width - left)
                        middle = codes[halo : halo + height, halo : halo + width]
                        result.write(middle, 1, window=RasterioWindow(left, top, width, height))

    return work


OF_A_BACKEND: dict[str, Callable[[Job], Work]] = {"floor": floor, "ours": ours}
"""Run once for every backend and precision."""
PEERS: dict[str, Callable[[Job], Work]] = {
    "MONAI": monai,
    "pytorch-toolbelt": pytorch_toolbelt,
    "plain loop": plain_loop,
}
"""Run in float32 in torch, as their documentation shows them."""
