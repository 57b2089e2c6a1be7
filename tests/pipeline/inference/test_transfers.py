"""Transfers: nothing moves on a CPU; on a GPU rows arrive whole, one row of tiles later."""

from __future__ import annotations

import pytest
import torch

from segment_tiles.pipeline.inference.transfers import CudaTransfers, HostTransfers, transfers_for


def test_on_the_cpu_values_stay_where_they_are() -> None:
    transfers = transfers_for(torch.device("cpu"))
    assert isinstance(transfers, HostTransfers)
    values = torch.arange(6, dtype=torch.uint8).reshape(2, 3)
    assert transfers.up(values) is values
    down = transfers.down(values).array()
    assert down.tolist() == values.tolist()
    assert down.ctypes.data == values.data_ptr(), "it was copied"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_values_come_back_as_they_went() -> None:
    device = torch.device("cuda:0")
    transfers = transfers_for(device)
    assert isinstance(transfers, CudaTransfers)
    batches = [torch.randint(0, 255, (64, 512), dtype=torch.uint8) for _ in range(20)]
    arrivals = [transfers.down(transfers.up(batch) + 1) for batch in batches]
    for batch, arrival in zip(batches, arrivals, strict=True):
        assert (arrival.array() == (batch + 1).numpy()).all()
