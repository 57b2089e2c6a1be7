"""torch beside a library with threads of its own: one thread inside, what it had outside."""

from __future__ import annotations

import pytest
import torch

from segment_tiles.pipeline.models.backends.torch_threads import torch_beside


@pytest.mark.parametrize(("backend", "inside"), [("torch", 2), ("compile", 2), ("openvino", 1), ("onnx", 1)])
def test_torch_rests_while_another_library_computes(backend: str, inside: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch_beside(backend):
            assert torch.get_num_threads() == inside
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
