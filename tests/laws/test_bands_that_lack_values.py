"""A value that one band lacks where others have some: the network sees the mean of its band, statistics none of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from laws.network_itself import Itself
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.scaling.scaler import Scaler
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.models.scaling.text import parse_scaling
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.sources.array import ArraySource
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.resampling.looked_at import pixels_of, together
from segment_tiles.pipeline.sources.stacks.resolve import StackOptions, resolved
from segment_tiles.pipeline.sources.view import View

TILE, OVERLAP = 32, 8
SHAPE = (75, 101)
THREE = ClassTable(tuple(MapClass(i, f"class {i}", (i, i, i)) for i in range(3)))
FIXED = "z-score:400,300"
TEXTS = (FIXED, "z-score:tile", "z-score:tile:all", "min-max:tile:2,98", "offset:100+scale:500")
CORNER = rasterio.transform.from_origin(5e5, 5e6, 1, 1)


def seen(source: Source, scaling: Scaling, batch: int = 2) -> list[NDArray[np.float32]]:
    """Return every tile that the network is shown."""
    network = Itself()
    manifest = ModelManifest(
        "itself", Architecture("test", "none", output_stride=8), ("a", "b", "c"), source.spec.dtype, scaling, TILE,
        OVERLAP / TILE, THREE,
    )  # fmt: skip
    scorer = Segmenter(network, manifest, torch.device("cpu"))
    runner = scorer.network if isinstance(scorer.network, Itself) else network
    lattice = Lattice(source.spec.height, source.spec.width, TILE, OVERLAP)
    stream = RegionStream(source, scorer, lattice, source.spec.window, blend="gaussian", batch=batch)
    for _ in stream:
        pass
    return [tile.numpy() for tile in runner.seen]


def scene(dtype: str, mark: float) -> NDArray[Any]:
    """Three bands, the last of which lacks its right half, and the second a few values; and a hole in all."""
    rng = np.random.default_rng(8)
    values = rng.gamma(2.0, 400.0, (3, *SHAPE)).clip(1, 30000).astype(dtype)
    values[2, :, 50:] = mark
    values[1, rng.random(SHAPE) > 0.9] = mark
    values[:, 20:30, 30:60] = mark
    return values


def written(path: Path, values: NDArray[Any], nodata: float | None, **profile: Any) -> str:
    bands, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=values.dtype.name,
        crs="EPSG:32632", **{"transform": CORNER, "nodata": nodata, **profile},
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return str(path)


def as_one_file(folder: Path, dtype: str, mark: float) -> str:
    return written(folder / f"one{mark}.tif", scene(dtype, mark), mark)


def as_a_stack(folder: Path, dtype: str, mark: float) -> str:
    values = scene(dtype, mark)
    return ",".join(
        written(folder / f"{name}{mark}.tif", band[np.newaxis], mark)
        for name, band in zip("abc", values, strict=True)
    )


def as_a_stack_of_which_one_ends(folder: Path, dtype: str, mark: float) -> str:
    """No mark in the member that ends: only its edge says that there is nothing."""
    values = scene(dtype, mark)
    values[:, 20:30, 30:60] = 7
    first, second = (written(folder / f"{n}{mark}.tif", values[i : i + 1], mark) for i, n in enumerate("ab"))
    return f"{first},{second},{written(folder / f'c{mark}.tif', values[2:, :, :50], None)}"


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("metres", [None, 2.0, 0.7])
@pytest.mark.parametrize(
    ("dtype", "marks"), [("uint16", (65535, 60001)), ("int16", (-9999, -32768)), ("float32", (-9999, 1e20))]
)
@pytest.mark.parametrize("made", [as_one_file, as_a_stack, as_a_stack_of_which_one_ends])
def test_what_stands_for_it_is_not_seen(
    made: Any, dtype: str, marks: tuple[float, float], metres: float | None, text: str, tmp_path: Path
) -> None:
    one, other = (
        seen(
            open_source(resolved(made(tmp_path, dtype, mark), StackOptions()), view=View(metres=metres)),
            parse_scaling(text),
        )
        for mark in marks
    )
    assert len(one) == len(other) > 0
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("batch", [1, 3])
def test_it_is_shown_as_the_mean_of_the_band_and_statistics_leave_it_out(batch: int) -> None:
    values = scene("uint16", 65535)
    tiles = seen(ArraySource(values, nodata=65535), parse_scaling("z-score:tile"), batch)
    stride = TILE - OVERLAP
    positions = [(row, column) for row in range(0, 67, stride) for column in range(0, 93, stride)]
    assert len(tiles) >= len(positions)
    for (row, column), tile in zip(positions, tiles, strict=False):
        part = values[:, row : row + TILE, column : column + TILE]
        edges = [(0, TILE - side) for side in part.shape[1:]]
        part = np.pad(part, [(0, 0), *edges], mode="reflect")
        for band, found in zip(part, tile, strict=True):
            held = band != 65535
            assert (found[~held] == 0).all()
            if held.any():
                counted = band[held].astype(np.float64)
                assert np.allclose(found[held], (band[held] - counted.mean()) / counted.std(), atol=1e-5)


@pytest.mark.parametrize("made", [as_one_file, as_a_stack, as_a_stack_of_which_one_ends])
@pytest.mark.parametrize("metres", [None, 2.0])
def test_statistics_of_a_scene_leave_it_out(made: Any, metres: float | None, tmp_path: Path) -> None:
    found = []
    for mark in (65535, 60001):
        source = open_source(
            resolved(made(tmp_path, "uint16", mark), StackOptions()), view=View(metres=metres)
        )
        values, counted = together(list(pixels_of(source)))
        scaler = Scaler(parse_scaling("z-score:scene"), 3, torch.device("cpu"))
        found.append(
            scaler.measured(torch.from_numpy(values)[None, :, None], torch.from_numpy(counted)[None, :, None])
        )
        assert found[-1] is not None
        for band, mask, chain in zip(
            values, np.broadcast_to(counted, values.shape), found[-1].chains, strict=True
        ):
            assert float(chain[0].first or 0) == pytest.approx(band[mask].mean(), rel=1e-5)
            assert band[mask].max() < 60000
    assert found[0] == found[1]


@pytest.mark.parametrize("metres", [None, 2.0])
@pytest.mark.parametrize(
    ("dtype", "mark"),
    [("uint8", 0), ("uint8", 255), ("uint16", 0), ("uint16", 65535), ("int16", -9999), ("float32", -9999)],
)
def test_a_stack_is_seen_as_the_file_that_has_all_of_its_bands(
    dtype: str, mark: float, metres: float | None, tmp_path: Path
) -> None:
    """Of 0 and of uint8 nobody knows in one band whether it is a value: it is seen as it is, in both."""
    values = scene("uint16", 0)
    values = np.where(values == 0, mark, values % 250 + 1).astype(dtype)
    one = written(tmp_path / "one.tif", values, mark)
    many = ",".join(written(tmp_path / f"{n}.tif", values[n : n + 1], mark) for n in range(3))
    view = View(metres=metres)
    file, stack = open_source(one, view=view), open_source(resolved(many, StackOptions()), view=view)
    for text in (FIXED, "z-score:tile"):
        pairs = zip(*(seen(source, parse_scaling(text)) for source in (file, stack)), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
    (of_file, file_counts), (of_stack, stack_counts) = (
        together(list(pixels_of(one))) for one in (file, stack)
    )
    assert np.array_equal(of_file, of_stack)
    assert np.array_equal(*np.broadcast_arrays(file_counts, stack_counts))
