"""A score that is NaN or infinite is never a class: nodata, counted, and said (docs/architecture.md#the-engine, 8)."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray
from torch import Tensor, nn

from segment_tiles.pipeline.accepted import BLENDS
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.accumulator import class_codes, clear_not_finite
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.models.graphs.packaged import PackagedGraph
from segment_tiles.pipeline.models.package import load_manifest, load_network, save_model_package
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.precision import compare
from segment_tiles.pipeline.models.scaling.scaling import z_score
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.pipeline.sources.array import ArraySource
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment

CPU = torch.device("cpu")
BROKEN = 7
"""Value of the pixels for which the networks here have no number."""
NAN, INF = float("nan"), float("inf")


class Pointwise(nn.Module):
    """Class 1 above 3, else class 0; another answer where the value is BROKEN."""

    def __init__(self, answer: tuple[float, float, float]) -> None:
        super().__init__()
        self.register_buffer("answer", torch.tensor(answer).reshape(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        value = image[:, :1]
        logits = torch.cat([3.5 - value, value - 3.5, value * 0 - 9], dim=1)
        return torch.where(value == BROKEN, self.answer, logits)


class Dividing(nn.Module):
    """Infinite where the value is BROKEN, as any library computes it."""

    def forward(self, image: Tensor) -> Tensor:
        value = image[:, :1]
        return torch.cat([3.5 - value, 1 / (value - BROKEN).abs()], dim=1)


def segmenter(network: nn.Module, tile: int, classes: int = 3, backend: str = "torch") -> Segmenter:
    manifest = ModelManifest(
        name="broken",
        architecture=Architecture("test", "none", output_stride=8),
        bands=("a",),
        dtype="uint8",
        scaling=z_score((0.0,), (1.0,)),
        tile=tile,
        overlap=0.25,
        classes=ClassTable(tuple(MapClass(i, f"class {i}", (i, i, i)) for i in range(classes))),
    )
    return Segmenter(network, manifest, CPU, backend=backend)


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 8, (1, height, width), dtype=np.uint8)


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("answer", [(NAN, 0, 0), (INF, 0, 0), (0, INF, INF), (-INF, -INF, -INF), (NAN,) * 3])
def test_pixels_without_a_number_are_nodata_whatever_the_blend(
    answer: tuple[float, float, float], blend: str
) -> None:
    values = picture(70, 53)
    lattice = Lattice(70, 53, 32, 16)
    broken, pieces = values[0] == BROKEN, []
    for region in (Window(0, 0, 70, 53), Window(20, 10, 41, 30)):
        stream = RegionStream(
            ArraySource(values), segmenter(Pointwise(answer), 32), lattice, region, blend=blend, batch=2,
            with_scores=True,
        )  # fmt: skip
        rows = list(stream)
        classes = np.concatenate([part.classes for part in rows])
        confidence = np.concatenate([part.confidence for part in rows])
        scores = np.concatenate([part.scores for part in rows if part.scores is not None], axis=1)
        marks = [
            np.zeros(part.classes.shape, bool) if part.not_finite is None else part.not_finite
            for part in rows
        ]
        expected = broken[region.slices()]
        np.testing.assert_array_equal(classes, np.where(expected, 255, values[0][region.slices()] > 3))
        np.testing.assert_array_equal(np.concatenate(marks), expected)
        assert not confidence[expected].any()
        assert confidence[~expected].all()
        assert not scores[:, expected].any()
        pieces.append((classes, confidence, scores))
    box = Window(20, 10, 41, 30).slices()
    for whole, part in zip(pieces[0], pieces[1], strict=True):
        np.testing.assert_array_equal(whole[(..., *box)], part)


def test_minus_infinity_for_one_class_is_a_probability_of_zero() -> None:
    scores = segmenter(Pointwise((-INF, 0.0, -INF)), 32).scores(torch.full((1, 1, 32, 32), BROKEN))
    assert scores.unique().tolist() == [0.0, 1.0]
    assert class_codes(scores[0])[0].unique().tolist() == [1]


@pytest.mark.parametrize("classes", [1, 2, 300])
def test_any_number_of_classes(classes: int) -> None:
    scores = torch.rand((classes, 5, 6), generator=torch.Generator().manual_seed(0))
    scores[:, 2, 3] = NAN
    nodata = 255 if classes <= 255 else 65535
    codes, best = class_codes(scores)
    lost = clear_not_finite(codes, best, nodata)
    assert lost is not None
    assert lost.nonzero().tolist() == [[2, 3]]
    assert int(codes[2, 3]) == nodata
    assert (codes == nodata).sum() == 1
    assert float(best[2, 3]) == 0
    assert clear_not_finite(*class_codes(scores[:, :2]), nodata) is None


@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
def test_every_backend_hands_infinity_on(backend: str) -> None:
    library = {"onnx": "onnxruntime"}.get(backend, backend)
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    values = torch.from_numpy(picture(32, 32))[None]
    scores = segmenter(Dividing(), 32, 2, backend).scores(values)
    np.testing.assert_array_equal(scores.isnan().all(1).numpy(), values[:, 0].numpy() == BROKEN)
    assert scores[scores == scores].isfinite().all()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "probabilities"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_graph_that_ends_in_probabilities_keeps_what_is_none(activation: str, value: float) -> None:
    given = torch.tensor([0.25, value]).reshape(1, 2, 1, 1).repeat(1, 1, 2, 2)
    graph = PackagedGraph(lambda _image: given, activation=activation, background=False)
    assert torch.softmax(graph(torch.zeros(1, 1, 2, 2)), 1).isnan().all()


def test_a_precision_that_overflows_does_not_agree_with_float32() -> None:
    reference = torch.softmax(torch.randn((1, 3, 8, 8), generator=torch.Generator().manual_seed(1)), 1)
    overflowing = reference.clone()
    overflowing[:, :, :4] = NAN
    trial = compare("fp16", overflowing, reference, None, 1.0)
    assert (trial.agreement, trial.largest_difference) == (0.5, 1.0)
    assert not trial.is_accepted
    same = compare("fp16", overflowing, overflowing, None, 1.0)
    assert (same.agreement, same.largest_difference) == (1.0, 0.0)
    assert same.is_accepted


class Listening:
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, text: str) -> None:
        self.said.append(text)

    def stage(self, name: str) -> None: ...

    def planned(self, plan: object) -> None: ...

    def tiles(self, computed: int, skipped: int) -> None: ...


def frail(model: Path, folder: Path) -> Path:
    """Return a package of the same network whose logits are 1e12 times larger: huge values overflow in it."""
    manifest = load_manifest(model)
    network = load_network(model, manifest)
    last = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.out_channels == 3][-1]
    with torch.no_grad():
        last.weight.mul_(1e12)
    save_model_package(folder, manifest, network.state_dict())
    return folder


def told(out: Path, heard: Listening, count: int) -> None:
    """Report and words of a run agree on the number of pixels."""
    report = json.loads((out / "report.json").read_text())
    assert report["not_finite"] == count
    spoken = [text for text in heard.said if "NaN or infinity" in text]
    assert len(spoken) == (1 if count else 0)
    assert [text for text in report["warnings"] if "NaN or infinity" in text] == spoken
    assert not spoken or f"for {count:,} of" in spoken[0]


def test_a_run_over_undeclared_nodata_of_floats(small_model: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(120, 60, (3, 100, 300)).astype(np.float32)
    values[:, 30:40, 20:30] = -3.4e38  # what GDAL's drivers of grids write, and this file does not declare
    values[:, :5] = -1
    path = tmp_path / "grid.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=100, width=300, dtype="float32", nodata=-1,
        crs="EPSG:32633", transform=Affine(0.5, 0, 0, 0, -0.5, 0),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    heard, out = Listening(), tmp_path / "out"
    segment(
        RunConfig(
            str(path), frail(small_model, tmp_path / "frail"), out, formats=("zarr", "cog"), precision="fp32"
        ),
        heard,
    )
    classes: NDArray[Any] = np.asarray(open_store(out / "classes.zarr")["classes"][:])
    lost = classes == 255
    lost[:5] = False
    assert lost[30:40, 20:30].all(), "no class for what is no number"
    assert not lost[:, 150:].any(), "tiles far from there are as they were"
    told(out, heard, int(lost.sum()))
    with rasterio.open(out / "classes.tif") as dataset:
        np.testing.assert_array_equal(dataset.dataset_mask()[5:] == 0, lost[5:])


def test_a_volume_in_three_directions(grey_model: Path, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).normal(120, 60, (70, 40, 36)).astype(np.float32)
    voxels[3:6, 4:7, 5:8] = 3.4e38
    voxels[:, :, :2] = -1
    path = tmp_path / "volume.nii"
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    heard, out = Listening(), tmp_path / "out"
    config = RunConfig(
        str(path), frail(grey_model, tmp_path / "frail"), out, formats=("zarr",), precision="fp32",
        backend="torch", batch=4, nodata=-1, axis="all",
    )  # fmt: skip
    segment(config, heard)
    group = open_store(out / "classes.zarr")
    classes: NDArray[Any] = np.asarray(group["classes"][:])
    lost = classes == 255
    lost[:2] = lost[-2:] = False
    assert lost.any()
    assert not np.asarray(group["confidence"][:])[lost].any()
    told(out, heard, int((classes == 255).sum() - (voxels == -1).sum()))
