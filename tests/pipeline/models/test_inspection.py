"""Costs and reach, on networks whose answer is known by hand."""

import pytest
import torch
from torch import nn

from segment_tiles.pipeline.models.inspection import count_multiply_adds, measure_reach
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.packages.manifest import Architecture


@pytest.mark.parametrize(("kernel", "rate", "reach"), [(1, 1, 0), (3, 1, 1), (3, 7, 7), (5, 3, 6)])
def test_reach_of_one_convolution(kernel, rate, reach):
    conv = nn.Conv2d(2, 3, kernel, padding=rate * (kernel // 2), dilation=rate)
    found = measure_reach(conv, bands=2, side=32)
    assert found.furthest == reach
    assert 0 <= found.effective <= reach
    assert found.measured == 64


def test_reaches_of_a_chain_add_up():
    chain = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=rate, dilation=rate) for rate in (1, 2, 4, 8)))
    assert measure_reach(chain, bands=1, side=32).furthest == 15


def test_weak_far_weights_do_not_count_as_effective():
    conv = nn.Conv2d(1, 1, 11, padding=5, bias=False)
    with torch.no_grad():
        conv.weight.fill_(1e-6)
        conv.weight[..., 4:7] = 1.0
    found = measure_reach(conv, bands=1, side=16)
    assert (found.effective, found.furthest) == (1, 5)


def test_global_pooling_reaches_as_far_as_is_measured():
    settings = {"details": {"channels": 16}}
    for pooling, everywhere in (("global", True), ("off", False)):
        torch.manual_seed(0)
        network = build_network(Architecture("deeplabv3", "resnet10t", 16, (1,), pooling, **settings), 3, 2)
        found = measure_reach(network.eval(), bands=3, side=160)
        assert (found.furthest == found.measured) is everywhere


def test_multiply_adds_by_hand():
    at_8 = Architecture("deeplabv1", "vgg16", 8, (12,))
    whole = count_multiply_adds(at_8, bands=3, classes=21, height=64, width=64)
    more_bands = count_multiply_adds(at_8, bands=4, classes=21, height=64, width=64)
    more_classes = count_multiply_adds(at_8, bands=3, classes=22, height=64, width=64)
    assert more_bands - whole == 64 * 64 * 9 * 64  # one more input of a 3x3 that is 64 wide
    assert more_classes - whole == 8 * 8 * 1024  # one more output of fc8
