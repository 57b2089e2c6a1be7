"""What the tests of models share."""

from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture
def with_lively_norms() -> Callable[[nn.Module], nn.Module]:
    """Give batch norms statistics that are not the identity, so that a mixed-up one shows."""

    def enliven(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(7)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2, generator=generator)
                module.running_var.uniform_(0.6, 1.4, generator=generator)
                module.weight.data.uniform_(0.7, 1.3, generator=generator)
                module.bias.data.uniform_(-0.2, 0.2, generator=generator)
        return network.eval()

    return enliven
