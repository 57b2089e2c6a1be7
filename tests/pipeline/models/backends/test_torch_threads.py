"""torch beside a library with threads of its own: one thread inside, what it had outside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from segment_tiles.pipeline.models.backends.known import BACKENDS
from segment_tiles.pipeline.models.backends.torch_threads import torch_threads


@pytest.mark.parametrize(("backend", "inside"), [("torch", 2), ("compile", 2), ("openvino", 1), ("onnx", 1)])
def test_torch_rests_while_another_library_computes(backend: str, inside: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch_threads(backend, 1):
            assert torch.get_num_threads() == inside
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_batches_at_once_share_the_threads_of_torch() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with torch_threads("torch", 2), ThreadPoolExecutor(2) as pool:
            # what a thread has that torch did not know before
            assert list(pool.map(lambda _: torch.get_num_threads(), range(2))) == [2, 2]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("threads", "batches"), [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_two_batches_at_once_where_their_threads_can_be_halved(threads: int, batches: int) -> None:
    before, cpu = torch.get_num_threads(), torch.device("cpu")
    torch.set_num_threads(threads)
    try:
        assert BACKENDS["torch"].batches_at_once(cpu, "bf16") == batches
        assert BACKENDS["openvino"].batches_at_once(cpu, "fp32") == batches
        assert BACKENDS["torch"].batches_at_once(cpu, "fp32") == 1
        assert BACKENDS["torch"].batches_at_once(torch.device("cuda"), "bf16") == 1
        assert BACKENDS["compile"].batches_at_once(cpu, "bf16") == 1
    finally:
        torch.set_num_threads(before)
