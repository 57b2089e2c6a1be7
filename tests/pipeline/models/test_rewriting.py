"""Rewriting for inference: fewer passes over memory, the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from segment_tiles.pipeline.models.graphs.folding import fold_batch_norms
from segment_tiles.pipeline.models.graphs.rewriting import (
    Upsampling,
    activate_in_place,
    cut_upsampling,
    rewrite,
)
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.packages.manifest import Architecture


@pytest.mark.parametrize(
    ("arch", "backbone"),
    [
        ("deeplabv3plus", "mobilenetv2_100"),
        ("deeplabv3plus", "xception41"),
        ("deeplabv3", "resnet18"),
        ("deeplabv2", "resnet18"),
        ("deeplabv1", "vgg16"),
    ],
)
@torch.inference_mode()
def test_both_parts_give_what_the_folded_network_gave_to_the_bit(arch: str, backbone: str) -> None:
    network = build_network(Architecture(arch, backbone, image_pooling="off"), 3, 4).eval()
    image = torch.randn(1, 3, 96, 96)
    untouched = image.clone()
    folded = fold_batch_norms(network, image).network
    expected = folded(image)
    rewritten = rewrite(folded)
    coarse = rewritten.network(image)
    assert rewritten.upsampling is not None
    assert coarse.shape[-1] < 96
    assert torch.equal(rewritten.upsampling(coarse, 96), expected)
    assert torch.equal(image, untouched), "the input is the caller's"


@torch.inference_mode()
def test_bfloat16_is_upsampled_in_float32() -> None:
    logits = torch.randn(1, 3, 8, 8).bfloat16().contiguous(memory_format=torch.channels_last)
    fine = Upsampling(align_corners=False)(logits, 32)
    assert fine.dtype == torch.float32
    assert torch.equal(fine, F.interpolate(logits.float(), (32, 32), mode="bilinear", align_corners=False))
    # a short type has no number for most of what lies between two logits
    assert (fine != fine.bfloat16().float()).any()


class Shared(nn.Module):
    """One activation for two places: what it sees second is read again afterwards."""

    def __init__(self, *, reads_again: bool) -> None:
        super().__init__()
        self.first, self.second, self.act = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.ReLU()
        self.reads_again = reads_again

    def forward(self, image: Tensor) -> Tensor:
        found = self.second(self.act(self.first(image)))
        result = self.act(found)
        return result + found if self.reads_again else result


@pytest.mark.parametrize(("reads_again", "changed"), [(True, 0), (False, 1)])
@torch.inference_mode()
def test_an_activation_keeps_what_is_read_again(reads_again: bool, changed: int) -> None:
    network = Shared(reads_again=reads_again).eval()
    image = torch.randn(1, 3, 8, 8)
    expected = network(image)
    traced = fx.symbolic_trace(network)
    assert activate_in_place(traced) == changed
    assert torch.equal(traced(image), expected)


class OnItsInput(nn.Module):
    """The activation would write over the image of the caller."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.conv = nn.ReLU(), nn.Conv2d(3, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(self.act(image))


def test_an_activation_of_the_input_stays() -> None:
    assert activate_in_place(fx.symbolic_trace(OnItsInput())) == 0


class TwoParameters(nn.Module):
    """Its forward has a second parameter, as networks with an optional mask have."""

    def forward(self, image: Tensor, scale: float = 2.0) -> Tensor:
        return F.interpolate(F.avg_pool2d(image, 2) * scale, size=image.shape[-2:], mode="bilinear")


@torch.inference_mode()
def test_a_second_parameter_with_a_default_does_no_harm() -> None:
    network, image = TwoParameters(), torch.randn(1, 2, 8, 8)
    rewritten = rewrite(fx.symbolic_trace(network))
    assert rewritten.upsampling is not None
    assert torch.equal(rewritten.upsampling(rewritten.network(image), 8), network(image))


class Ends(nn.Module):
    """Ends with a resize that `cut_upsampling` must leave alone."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, image: Tensor) -> Tensor:
        size = image.shape[-2:]
        small = F.avg_pool2d(image, 2)
        if self.kind == "nearest":
            return F.interpolate(small, size=size, mode="nearest")
        if self.kind == "scale":
            return F.interpolate(small, scale_factor=2, mode="bilinear")
        if self.kind == "other size":
            return F.interpolate(image, size=small.shape[-2:], mode="bilinear")
        return F.interpolate(small, size=size, mode="bilinear") * 2


@pytest.mark.parametrize("kind", ["nearest", "scale", "other size", "followed"])
@torch.inference_mode()
def test_another_end_is_left_alone(kind: str) -> None:
    network, image = Ends(kind), torch.randn(1, 2, 8, 8)
    traced = fx.symbolic_trace(network)
    assert cut_upsampling(traced) is None
    traced.recompile()
    assert torch.equal(traced(image), network(image))


def test_a_network_without_a_graph_stays_as_it_is() -> None:
    network = nn.Conv2d(1, 2, 1)
    assert rewrite(network).network is network
    assert rewrite(network).upsampling is None
