"""What the network sees by statistics of tiles and scenes: the same for any Region, batch, worker and resumed run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
import zarr
from laws.network_itself import Itself
from numpy.typing import NDArray
from torch import Tensor

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.scaling.text import parse_scaling
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.sources.array import ArraySource
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment

TILE, OVERLAP = 32, 8
SHAPE = (75, 101)
"""Odd, so that the last tiles overhang."""
NODATA = 65535
THREE = ClassTable(tuple(MapClass(i, f"class {i}", (i, i, i)) for i in range(3)))
TEXTS = (
    "z-score:tile",
    "z-score:tile:all",
    "min-max:tile:2,98",
    "clip:tile:5,95+z-score:tile",
    "min-max:tile",
)


def scene(dtype: str) -> NDArray[Any]:
    rng = np.random.default_rng(8)
    values = (rng.gamma(2.0, 400.0, (3, *SHAPE)) * np.linspace(0.3, 3, SHAPE[1])).astype(dtype)
    values[:, 20:45, 30:70] = NODATA
    values[:, rng.random(SHAPE) > 0.9] = NODATA
    return values


def segmented(
    values: NDArray[Any], text: str, region: Window, batch: int = 2
) -> tuple[NDArray[Any], NDArray[Any], list[Tensor]]:
    """Return codes and score bytes of a Region, and the tiles that the network saw."""
    network = Itself()
    manifest = ModelManifest(
        "itself", Architecture("test", "none", output_stride=8), ("a", "b", "c"), "uint16", parse_scaling(text), TILE,
        OVERLAP / TILE, THREE,
    )  # fmt: skip
    scorer = Segmenter(network, manifest, torch.device("cpu"))
    runner = scorer.network.seen if isinstance(scorer.network, Itself) else network.seen
    source = ArraySource(values, nodata=NODATA)
    lattice = Lattice(*SHAPE, TILE, OVERLAP)
    rows = list(
        RegionStream(source, scorer, lattice, region, blend="gaussian", batch=batch, with_scores=True)
    )
    scores = np.concatenate([row.scores for row in rows if row.scores is not None], axis=1)
    return np.concatenate([row.classes for row in rows]), scores, runner


def reference_tiles(values: NDArray[Any], text: str) -> list[NDArray[np.float32]]:
    """Every tile that has a valid pixel, reflected beyond the edge and scaled by NumPy alone."""
    stride = TILE - OVERLAP
    counts = [max(1, -(-(side - OVERLAP) // stride)) for side in SHAPE]
    found = []
    for i in range(counts[0]):
        for j in range(counts[1]):
            part = values[:, i * stride : i * stride + TILE, j * stride : j * stride + TILE]
            missing = [(0, TILE - side) for side in part.shape[1:]]
            tile = np.pad(part, [(0, 0), *missing], mode="reflect")
            valid = ~(tile == NODATA).all(axis=0)
            if not (~(part == NODATA).all(axis=0)).any():
                continue
            found.append(reference(tile.astype(np.float32), valid, text))
    return found


def reference(tile: NDArray[np.float32], valid: NDArray[np.bool_], text: str) -> NDArray[np.float32]:
    """The steps of a text, one after the other, over valid pixels."""
    for step in text.split("+"):
        kind, _, *details = step.split(":")
        new = tile.copy()
        for band in range(3):
            counted = (tile[:, valid] if "all" in details else tile[band, valid]).astype(np.float64)
            if kind == "z-score":
                new[band] = (tile[band] - np.float32(counted.mean())) / np.float32(counted.std())
                continue
            pair = [float(number) for number in details[0].split(",")] if details else [0.0, 100.0]
            low, high = (np.float32(number) for number in np.percentile(counted, pair))
            new[band] = (
                np.clip(tile[band], low, high) if kind == "clip" else (tile[band] - low) / (high - low)
            )
        tile = new
    fill = 0.0 if "z-score" in text else tile[:, valid].astype(np.float64).mean(axis=1)[:, None]
    tile[:, ~valid] = fill
    return tile


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("text", TEXTS)
def test_every_tile_is_scaled_as_numpy_scales_it(text: str, dtype: str) -> None:
    values = scene(dtype)
    _, _, seen = segmented(values, text, Window(0, 0, *SHAPE), batch=1)
    expected = reference_tiles(values, text)
    assert len(seen) == len(expected) > 8
    for tile, known in zip(seen, expected, strict=True):
        np.testing.assert_allclose(tile.numpy(), known, rtol=1e-6, atol=1e-6)
    if dtype == "uint16" and text in {"z-score:tile", "min-max:tile"}:
        assert all(
            np.array_equal(tile.numpy()[:, 3], known[:, 3])
            for tile, known in zip(seen, expected, strict=True)
        )


@pytest.mark.parametrize("text", TEXTS[:3])
def test_statistics_of_tiles_do_not_depend_on_regions_nor_batches(text: str) -> None:
    values = scene("float32")
    codes, scores, _ = segmented(values, text, Window(0, 0, *SHAPE))
    for region, batch in (
        (Window(11, 7, 33, 40), 3),
        (Window(40, 60, 35, 41), 1),
        (Window(0, 0, 24, 101), 4),
    ):
        part_codes, part_scores, _ = segmented(values, text, region, batch)
        rows, columns = region.slices()
        assert np.array_equal(part_codes, codes[rows, columns])
        assert np.array_equal(part_scores, scores[:, rows, columns])


def written(path: Path, values: NDArray[Any], **profile: Any) -> Path:
    height, width = values.shape[1:]
    at = rasterio.transform.from_origin(500000, 5000000, 10, 10)
    with rasterio.open(path, "w", driver="GTiff", count=len(values), height=height, width=width,
                       dtype=values.dtype.name, crs="EPSG:32632", transform=at, **profile) as dataset:  # fmt: skip
        dataset.write(values)
    return path


def run(source: Path, model: Path, out: Path, quiet: Any, **changes: Any) -> NDArray[Any]:
    """Segment by statistics of the scene, then of the tile; return codes and confidence, 2 x rows x columns."""
    fixed: dict[str, Any] = {
        "device": "cpu",
        "precision": "fp32",
        "backend": "torch",
        "batch": 2,
        "formats": (),
    }
    fixed |= {"scaling": "min-max:scene:2,98+z-score:tile", "preview": False, **changes}
    segment(RunConfig(str(source), str(model), out, **fixed), quiet)
    store = zarr.open_group(out / "classes.zarr", mode="r")
    return np.stack([np.asarray(store[name][:]) for name in ("classes", "confidence")])


@pytest.mark.parametrize("workers", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_workers_and_an_roi_give_the_same_bytes(
    workers: int | None, small_model: Path, tmp_path: Path, quiet: Any
) -> None:
    values = np.random.default_rng(1).integers(0, 9000, (3, 90, 300)).astype(np.uint16)
    values[:, :, 100:140] = 0
    source = written(tmp_path / "scene.tif", values, nodata=0)
    whole = run(source, small_model, tmp_path / "whole", quiet)
    assert np.array_equal(
        run(source, small_model, tmp_path / "workers", quiet, workers=workers, batch=3), whole
    )
    left, bottom = 500000 + 70 * 10, 5000000 - 80 * 10
    roi = (left, bottom, left + 150 * 10, bottom + 50 * 10)
    assert np.array_equal(run(source, small_model, tmp_path / "roi", quiet, roi=roi), whole[:, 30:80, 70:220])
