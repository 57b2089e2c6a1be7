"""Threads and precision that backends ask for, read back from the libraries that run the network."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from segment_tiles.pipeline.models.backends.onnx_runtime import OnnxRuntime
from segment_tiles.pipeline.models.backends.openvino import OpenVino
from segment_tiles.pipeline.models.backends.protocol import Preparation


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.convolution(image)
        return result


def prepared(backend: Any, folder: Path) -> None:
    cpu = torch.device("cpu")
    backend.prepare(Tiny().eval(), Preparation((1, 3, 64, 64), cpu, "fp32", "of Tiny", folder))


def test_openvino_runs_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino: ModuleType = pytest.importorskip("openvino")

    compiled: list[Any] = []
    real = openvino.Core.compile_model

    def compile_model(core: Any, *arguments: Any) -> Any:
        compiled.append((real(core, *arguments), arguments[-1]))
        return compiled[-1][0]

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    prepared(OpenVino(), tmp_path)
    ((model, asked),) = compiled
    assert asked
    for name, value in asked.items():
        found = model.get_property(name)
        found = (
            found.to_string() if name == "INFERENCE_PRECISION_HINT" and hasattr(found, "to_string") else found
        )
        assert str(found) in {str(value), f"<Type: '{ {'f32': 'float32'}.get(value, value) }'>"}, name


def test_onnx_runtime_runs_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime: ModuleType = pytest.importorskip("onnxruntime")

    sessions: list[Any] = []
    real = onnxruntime.InferenceSession

    def session(*arguments: Any, **options: Any) -> Any:
        sessions.append(real(*arguments, **options))
        return sessions[-1]

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    prepared(OnnxRuntime(), tmp_path)
    found = sessions[-1].get_session_options()
    assert found.intra_op_num_threads == torch.get_num_threads()
    assert found.inter_op_num_threads == 1
    assert found.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert sessions[-1].get_providers() == ["CPUExecutionProvider"]
