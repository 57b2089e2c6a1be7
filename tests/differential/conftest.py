"""A network of one convolution whose every class is known without running it: class bits are band > threshold."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray

from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.model_packages.weights_import import import_model
from segment_tiles.workflows.options.model_import import ImportRequest
from segment_tiles.workflows.run.segment import segment


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The functions of made_rasters.py beside this file."""
    return _beside("made_rasters")


@pytest.fixture(scope="session")
def graphs() -> ModuleType:
    """The functions of onnx_graphs.py beside this file."""
    return _beside("onnx_graphs")


def _beside(name: str) -> ModuleType:
    """Load a module of this folder: pytest does not put test folders on the path."""
    path = Path(__file__).with_name(f"{name}.py")
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


TILE = 32
"""Side of a tile in pixels: small, so that small rasters have seams."""


def write_threshold_graph(path: Path, thresholds: tuple[float, ...]) -> None:
    """Write an ONNX graph of one 1 x 1 convolution: class k has bit b where band b lies above its threshold.

    The logit of class k is ``sum_b s(k, b) (x_b - t_b)``, with s = +1 where bit b of k is set and -1 elsewhere.
    It is highest for the class whose signs are those of ``x_b - t_b``.
    """
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    bands = len(thresholds)
    signs = np.array([[1.0 if k >> b & 1 else -1.0 for b in range(bands)] for k in range(2**bands)])
    weight = signs.astype(np.float32)[:, :, np.newaxis, np.newaxis]
    bias = (-signs @ np.asarray(thresholds)).astype(np.float32)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w", "b"], ["y"])],
        "threshold",
        [value("x", onnx.TensorProto.FLOAT, ["n", bands, "h", "w"])],
        [value("y", onnx.TensorProto.FLOAT, ["n", 2**bands, "h", "w"])],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )
    operators = [onnx.helper.make_opsetid("", 17)]
    onnx.save_model(onnx.helper.make_model(graph, opset_imports=operators, ir_version=8), str(path))


@pytest.fixture(scope="session")
def threshold_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the package of a network that tells which bands lie above a threshold; made once for each request.

    ``threshold_model(bands=2, threshold=100.5, dtype="uint16")``: class code = sum of 2**b over the bands b
    (from 0) whose value is above the threshold, one number for all bands or one for each. Values go in as they
    are. Choose a threshold that no value equals.
    """
    folder = tmp_path_factory.mktemp("thresholds")
    made: dict[object, Path] = {}

    def package(
        bands: int = 1, threshold: float | tuple[float, ...] = 0.5, dtype: str = "uint8", tile: int = TILE
    ) -> Path:
        thresholds = threshold if isinstance(threshold, tuple) else (threshold,) * bands
        key = (bands, thresholds, dtype, tile)
        if key not in made:
            out = folder / f"threshold-{len(made)}"
            graph = folder / f"threshold-{len(made)}.onnx"
            write_threshold_graph(graph, thresholds)
            import_model(
                ImportRequest(
                    graph,
                    out,
                    classes=tuple(f"class{code}" for code in range(2**bands)),
                    mean=(0.0,) * bands,
                    std=(1.0,) * bands,
                    tile=tile,
                    bands=tuple(f"band{number + 1}" for number in range(bands)),
                    dtype=dtype,
                )
            )
            made[key] = out
        return made[key]

    return package


@pytest.fixture(scope="session")
def expected_classes() -> Callable[..., NDArray[np.uint8]]:
    """Computes by NumPy what `threshold_model` gives of bands x ...: codes, 255 where ``valid`` is False."""

    def codes(
        values: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        threshold: float | tuple[float, ...] = 0.5,
    ) -> NDArray[np.uint8]:
        thresholds = np.broadcast_to(np.asarray(threshold), values.shape[:1])
        above = values > thresholds.reshape(-1, *(1,) * (values.ndim - 1))
        weights = 2 ** np.arange(len(values)).reshape(-1, *(1,) * (values.ndim - 1))
        found: NDArray[np.uint8] = (above * weights).sum(axis=0).astype(np.uint8)
        return found if valid is None else np.where(valid, found, np.uint8(255))

    return codes


class Heard:
    """Listens to a run and keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.plan: Any = None

    def warn(self, text: str) -> None:
        """Keep it."""
        self.warnings.append(text)

    def stage(self, name: str) -> None:
        """Say nothing."""

    def planned(self, plan: Any) -> None:
        """Keep it."""
        self.plan = plan

    def tiles(self, computed: int, skipped: int) -> None:
        """Say nothing."""


@pytest.fixture
def thresholded(tmp_path: Path) -> Callable[..., tuple[NDArray[Any], dict[str, Any], list[str]]]:
    """Runs a model of one convolution in this process: class codes, report, warnings.

    Nothing is measured and nothing but the Zarr store is made; other options of `RunConfig` by keyword.
    """
    count = 0

    def run(
        source: Path | str, model: Path, **options: Any
    ) -> tuple[NDArray[Any], dict[str, Any], list[str]]:
        nonlocal count
        count += 1
        out, heard = tmp_path / f"result-{count}", Heard()
        settings: dict[str, Any] = {
            "device": "cpu", "precision": "fp32", "backend": "torch", "batch": 4, "overlap": 0.25,
            "formats": ("zarr",), "preview": False, **options,
        }  # fmt: skip
        # collecting the garbage of a whole test session takes longer than such a run
        with patch("segment_tiles.workflows.run.finish.release_after"):
            result = segment(RunConfig(str(source), str(model), out, **settings), heard)
        return np.asarray(open_store(out / "classes.zarr")["classes"]), dict(result.report), heard.warnings

    return run
