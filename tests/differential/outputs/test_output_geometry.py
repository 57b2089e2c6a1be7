"""Networks whose output is cropped, coarser, fixed in size or ordered otherwise: tiled, they equal a plain loop."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from numpy.typing import NDArray

import segment_tiles as st
from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.workflows.model_packages.weights_import import import_model
from segment_tiles.workflows.options.model_import import import_request_from

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@dataclass(frozen=True)
class Case:
    """One geometry."""

    graph: dict[str, Any]
    tile: int
    margin: int = 0
    overlap: int = 0
    asked: dict[str, Any] = field(default_factory=dict)
    coarser: int = 1
    shape: tuple[int, int] = (301, 517)


CASES: dict[str, Case] = {
    "256 in, 164 out": Case({"sides": (256, 256), "out": 164, "dilation": 46}, 256, 46, 96),
    "512 in, 256 out": Case(
        {"sides": (512, 512), "out": 256, "dilation": 128}, 512, 128, 256, {"margin": 128}, shape=(261, 307)
    ),
    "1024 in, 512 out": Case(
        {"sides": (1024, 1024), "out": 512, "dilation": 256}, 1024, 256, 512, {"margin": 256}, shape=(261, 733)
    ),
    "a quarter": Case(
        {"sides": ("h", "w"), "out": "o", "kernel": 4, "stride": 4, "batch": "n"}, 64, 0, 32, {"tile": 64}, 4
    ),
    "a quarter, corners aligned": Case(
        {"sides": (64, 64), "out": 16, "kernel": 4, "stride": 4}, 64, 0, 32,
        {"coarser": 4, "align_corners": True}, 4,
    ),
    "cropped and coarser": Case(
        {"sides": (64, 64), "out": 12, "kernel": 4, "stride": 4, "dilation": 6}, 64, 8, 16,
        {"coarser": 4}, 4, (101, 77),
    ),
    "fixed 512, batch 1": Case({"sides": (512, 512), "out": 512, "pad": 1}, 512, 0, 256, shape=(301, 613)),
    "batch 3": Case({"sides": (64, 64), "out": 64, "pad": 1, "batch": 3}, 64, 0, 32),
    "nhwc": Case({"sides": (64, 64), "out": 64, "pad": 1, "channels_last": True}, 64, 0, 32),
    "nhwc, float16, constant, second output": Case(
        {
            "sides": (64, 64), "out": 64, "pad": 1, "channels_last": True, "dtype": "float16", "extra": True,
        },
        64, 0, 32, {"constants": "gain=2", "use_output": "scores"},
    ),
}  # fmt: skip


def package(graphs: ModuleType, folder: Path, case: Case) -> Path:
    path = graphs.write_graph(folder / "net.onnx", **case.graph)
    import_model(
        import_request_from(
            path=path, out=folder / "model", classes="a,b,c", mean="100,110,90", std="50,60,70", **case.asked
        )
    )
    return folder / "model"


def answer_of(path: Path, case: Case) -> Any:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    dtype = case.graph.get("dtype", "float32")
    further = {"gain": np.array([2], dtype)} if case.graph.get("extra") else {}

    def answer(window: NDArray[np.float32]) -> NDArray[np.float32]:
        mean, std = (np.array(row, np.float32)[:, None, None] for row in ((100, 110, 90), (50, 60, 70)))
        seen = (window - mean) / std
        batch = case.graph.get("batch", 1)
        shown = np.repeat(seen[None], batch if isinstance(batch, int) else 1, axis=0)
        shown = shown.transpose(0, 2, 3, 1) if case.graph.get("channels_last") else shown
        scores = session.run(["scores"], {"image": np.ascontiguousarray(shown.astype(dtype)), **further})[0][
            0
        ]
        return (scores.transpose(2, 0, 1) if case.graph.get("channels_last") else scores).astype(np.float32)

    return answer


@pytest.mark.parametrize("name", CASES)
def test_tiled_equals_a_plain_loop_over_windows(graphs: ModuleType, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    model = package(graphs, tmp_path, case)
    manifest = load_manifest(model)
    assert (manifest.tile, manifest.output.margin, manifest.output.coarser) == (
        case.tile,
        case.margin,
        case.coarser,
    )
    assert manifest.overlap_of(case.tile) == case.overlap
    coarse = np.random.default_rng(0).integers(0, 255, (3, 40, 80), dtype=np.uint8)
    image = coarse.repeat(30, axis=1).repeat(30, axis=2)[:, : case.shape[0], : case.shape[1]]
    image = image // 2 + np.random.default_rng(1).integers(0, 100, image.shape, dtype=np.uint8)
    finer = None
    if case.coarser > 1:
        finer = partial(graphs.bilinear, align_corners=bool(case.asked.get("align_corners")))
    logits = graphs.plain_reference(
        answer_of(tmp_path / "net.onnx", case), image,
        tile=case.tile, margin=case.margin, overlap=case.overlap, finer=finer,
    )  # fmt: skip
    found = st.segment_array(
        image, model=str(model), blend="crop", device="cpu", precision="fp32", backend="torch", batch=2
    )
    best = np.sort(logits, axis=0)
    decided = best[-1] - best[-2] > (0.02 if case.graph.get("dtype") else 1e-4)
    assert decided.mean() > 0.97
    np.testing.assert_array_equal(found[decided], logits.argmax(0)[decided])


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        (
            "256 in, 164 out",
            {"overlap": 0.25},
            "--overlap 0.25 shares 64 px .* outer 46 px .* 0.3594 or more",
        ),
        ("batch 3", {"tile": 128}, "--tile is 128; model model takes tiles of 64 px alone"),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_anything_is_computed(
    graphs: ModuleType, tmp_path: Path, name: str, options: dict[str, Any], text: str
) -> None:
    model = package(graphs, tmp_path, CASES[name])
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", width=70, height=60, count=3, dtype="uint8",
        crs="EPSG:32633", transform=rasterio.Affine(1, 0, 4e5, 0, -1, 5e6),
    ) as scene:  # fmt: skip
        scene.write(np.ones((3, 60, 70), np.uint8))
    scene_path, out = str(tmp_path / "scene.tif"), tmp_path / "out"
    for refused in (
        lambda: st.plan(scene_path, model=str(model), **options),
        lambda: st.segment(scene_path, model=str(model), out=out, **options),
    ):
        with pytest.raises(UsageError, match=text):
            refused()
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "asked", "text"),
    [
        ("512 in, 256 out", {}, "say --margin 128 .* or --coarser 2"),
        ("256 in, 164 out", {"margin": 40}, "answers 256 px by 164 px; cropped by 40 px"),
        ("fixed 512, batch 1", {"tile": 256}, "--tile 256: .* takes images of 512 x 512 alone"),
        ("nhwc, float16, constant, second output", {}, "takes further inputs, gain.*--constants gain=NUMBER"),
        (
            "nhwc, float16, constant, second output",
            {"constants": "gain=2", "use_output": "x"},
            "no output 'x'",
        ),
        ("batch 3", {"layout": "nhwc"}, "takes 64 bands; --bands names 3"),
    ],
)
def test_a_graph_that_is_described_wrongly_is_no_model(
    graphs: ModuleType, tmp_path: Path, name: str, asked: dict[str, Any], text: str
) -> None:
    with pytest.raises((UsageError, ModelError), match=text):
        package(graphs, tmp_path, replace(CASES[name], asked=asked))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("activation", ["Identity", "Sigmoid"])
def test_classes_that_overlap_have_a_mask_each(graphs: ModuleType, tmp_path: Path, activation: str) -> None:
    graph: dict[str, Any] = {
        "sides": ("h", "w"),
        "out": "o",
        "pad": 1,
        "batch": "n",
        "activation": activation,
    }
    case = Case(graph, 64, 0, 32, {"tile": 64, "multi_label": True})
    if activation == "Sigmoid":
        with pytest.raises(ModelError, match="say --multi-label"):
            package(graphs, tmp_path, replace(case, asked={"tile": 64}))
    model = package(graphs, tmp_path, case)
    image = np.random.default_rng(0).integers(1, 255, (3, 12, 10), dtype=np.uint8)
    image = image.repeat(10, axis=1).repeat(10, axis=2)
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", width=100, height=120, count=3, dtype="uint8", nodata=0,
        crs="EPSG:32633", transform=rasterio.Affine(1, 0, 4e5, 0, -1, 5e6),
    ) as scene:  # fmt: skip
        image[:, :10, :10] = 0
        scene.write(image)
    asked: dict[str, Any] = {
        "device": "cpu",
        "precision": "fp32",
        "blend": "crop",
        "format": "cog",
        "preview": False,
    }
    with pytest.warns(st.SegmentTilesWarning, match="may overlap"):
        result = st.segment(
            str(tmp_path / "scene.tif"),
            model=str(model),
            out=tmp_path / "out",
            threshold="b=0.3",
            scores=True,
            **asked,
        )
    assert any("may overlap" in text for text in result.report["warnings"])
    store = zarr.open_group(tmp_path / "out" / "classes.zarr", mode="r")
    valid = (image != 0).any(0)
    logits = plain_logits(graphs, tmp_path, replace(case, graph={**graph, "activation": "Identity"}), image)
    shares = 1 / (1 + np.exp(-logits))
    kept = np.floor(shares * 255 + 0.5)
    inner = ~np.isin(np.indices(valid.shape), range(12)).all(0)  # nodata, which the loop fills with no mean
    sure = (np.abs(shares * 255 + 0.5 - np.round(shares * 255 + 0.5)) > 0.01).all(0) & valid & inner
    assert sure.mean() > 0.9
    expected = kept >= np.array([128, 77, 128])[:, None, None]
    np.testing.assert_array_equal(store["scores"][:][:, sure], kept[:, sure])
    np.testing.assert_array_equal(store["masks"][:][:, sure], expected[:, sure])
    assert not store["masks"][:][:, ~valid].any()
    assert (expected[:, sure].sum(0) > 1).any(), "some overlap"
    best = np.where(expected, kept, -1)
    classes = np.where(expected.any(0), best.argmax(0), 3)
    np.testing.assert_array_equal(store["classes"][:][sure], classes[sure])
    names = [entry["name"] for entry in result.report["classes"]]
    assert names == ["a", "b", "c", "none"]
    with pytest.raises(UsageError, match="each has its own threshold"):
        st.plan(str(tmp_path / "scene.tif"), model=str(model), unsure=0.5)
    asked = {"device": "cpu", "precision": "fp32", "blend": "crop", "nodata": 0, "threshold": "b=0.3"}
    of_array = st.segment_array(image, model=str(model), **asked)
    np.testing.assert_array_equal(of_array, np.where(valid, store["masks"][:], 255))


def plain_logits(
    graphs: ModuleType, folder: Path, case: Case, image: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Return the logits of the same network without a sigmoid, by a loop over windows."""
    path = graphs.write_graph(folder / "plain.onnx", **case.graph)
    found: NDArray[np.float64] = graphs.plain_reference(
        answer_of(path, case), image, tile=case.tile, margin=case.margin, overlap=case.overlap
    )
    return found


@pytest.mark.parametrize("asked", [{"margin": 3}, {"multi_label": True}, {"constants": "a=1"}])
def test_what_is_of_graphs_is_refused_for_weights(tmp_path: Path, asked: dict[str, Any]) -> None:
    weights = find_model("canopy-rgb") / "weights.safetensors"
    request = import_request_from(path=weights, out=tmp_path / "model", classes="a,b", **asked)
    with pytest.raises(UsageError, match=f"--{next(iter(asked)).replace('_', '-')} is of graphs"):
        import_model(request)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("coarser", [1, 4])
def test_probabilities_are_taken_as_they_are(graphs: ModuleType, tmp_path: Path, coarser: int) -> None:
    graph: dict[str, Any] = {
        "sides": (64, 64),
        "out": 64 // coarser,
        "activation": "Softmax",
        **({"kernel": 4, "stride": 4} if coarser == 4 else {"pad": 1}),
    }
    case = Case(graph, 64, 0, 32, {"coarser": coarser} if coarser > 1 else {}, coarser)
    model = package(graphs, tmp_path, case)
    image = np.random.default_rng(0).integers(0, 255, (3, 12, 11), dtype=np.uint8)
    image = image.repeat(10, axis=1).repeat(10, axis=2)
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", width=110, height=120, count=3, dtype="uint8",
        crs="EPSG:32633", transform=rasterio.Affine(1, 0, 4e5, 0, -1, 5e6),
    ) as scene:  # fmt: skip
        scene.write(image)
    shares = graphs.plain_reference(
        answer_of(tmp_path / "net.onnx", case), image, tile=64, margin=0, overlap=32,
        finer=partial(graphs.bilinear, align_corners=False) if coarser > 1 else None,
    )  # fmt: skip
    st.segment(
        tmp_path / "scene.tif", model=str(model), out=tmp_path / "out", scores=True, format="zarr", preview=False,
        blend="crop", device="cpu", precision="fp32", backend="torch", batch=2,
    )  # fmt: skip
    kept = zarr.open_group(tmp_path / "out" / "classes.zarr", mode="r")["scores"][:]
    expected = shares * 255 + 0.5
    sure = np.abs(expected - np.round(expected)) > 1e-3
    assert sure.mean() > 0.98
    np.testing.assert_array_equal(kept[sure], np.floor(expected)[sure])
