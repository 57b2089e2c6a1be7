"""The Plan counts codes as they are stored: 255 classes fit into a byte, with one for "not sure" they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from segment_tiles.workflows.config import run_config_from
from segment_tiles.workflows.model_packages.weights_import import import_model
from segment_tiles.workflows.options.model_import import ImportRequest
from segment_tiles.workflows.run.request import plan_run

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_a_class_for_not_sure_may_need_a_second_byte(tmp_path: Path) -> None:
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    weight = onnx.numpy_helper.from_array(np.ones((255, 1, 1, 1), np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"])], "many", [value("x", kind, ["n", 1, "h", "w"])],
        [value("y", kind, ["n", 255, "h", "w"])], [weight],
    )  # fmt: skip
    operators = [onnx.helper.make_opsetid("", 17)]
    onnx.save_model(
        onnx.helper.make_model(graph, opset_imports=operators, ir_version=8), str(tmp_path / "m.onnx")
    )
    import_model(
        ImportRequest(
            tmp_path / "m.onnx", tmp_path / "model", classes=tuple(f"class {n}" for n in range(255)), mean=(0.0,),
            std=(1.0,), tile=32, bands=("band",), dtype="uint8",
        )
    )  # fmt: skip
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", count=1, height=90, width=80, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 5e5, 0, -1, 5e6),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, 90, 80), np.uint8))
    plans = [
        plan_run(
            run_config_from(
                source=str(tmp_path / "a.tif"), model=str(tmp_path / "model"), out="", device="cpu", backend="torch",
                precision="fp32", format="zarr", preview=False, **more,
            )
        )
        for more in ({}, {"unsure": 0.5})
    ]  # fmt: skip
    rows = [plan.memory.finished_rows for plan in plans]
    assert rows[1] * 2 == rows[0] * 3  # two bytes and the confidence, not one
    assert plans[1].disk_bytes > plans[0].disk_bytes
