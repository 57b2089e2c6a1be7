"""The graph of a forward pass on a GPU gives what the network gives, for every batch."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from segment_tiles.pipeline.models.backends.cuda_graph import CudaGraphRunner

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class AsksTheHost(nn.Module):
    """Reads a value back in the middle of a pass, which a graph cannot hold."""

    def forward(self, image: Tensor) -> Tensor:
        return image * float(image.sum())


def test_batches_of_another_shape_run_as_they_are() -> None:
    network = nn.Conv2d(3, 2, 3)
    image = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(CudaGraphRunner(network, (2, 3, 16, 16))(image), network(image))


@needs_gpu
@torch.inference_mode()
def test_a_graph_gives_what_the_network_gives() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)).cuda()
    runner = CudaGraphRunner(network, (2, 3, 32, 32))
    for _ in range(3):
        image = torch.randn(2, 3, 32, 32, device="cuda")
        torch.testing.assert_close(runner(image).clone(), network(image), rtol=0, atol=0)


@needs_gpu
@torch.inference_mode()
def test_a_network_that_cannot_be_captured_runs_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    image = torch.ones(1, 3, 4, 4, device="cuda")
    with caplog.at_level(logging.WARNING):
        torch.testing.assert_close(CudaGraphRunner(AsksTheHost(), (1, 3, 4, 4))(image), image * 48)
    assert "cannot be captured" in caplog.text
