"""Backbones that other projects wrote for themselves: what they cost, how far they look, what they refuse."""

import json

import pytest
import torch
from torch import nn

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.models.graphs.folding import fold_batch_norms
from segment_tiles.pipeline.models.inspection import count_multiply_adds, count_parameters, measure_reach
from segment_tiles.pipeline.models.networks.build import build_network, with_output_stride
from segment_tiles.pipeline.models.package import save_model_package
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.packages.stac_item import from_stac_item, to_stac_item
from segment_tiles.pipeline.models.scaling.scaling import z_score

STRIDES = {"drn_d_54": 8, "xception_jfzhang": 16, "xception_vainf": 16, "hrnetv2_32": 32, "hrnetv2_48": 32}


def described(backbone, stride=None):
    light = {"channels": 8, "aspp_separable": "plain", "decoder_separable": "plain"}
    rates = (1, 2) if stride != 8 else (2, 4)
    return Architecture("deeplabv3plus", backbone, stride or STRIDES[backbone], rates, details=light)


@pytest.mark.parametrize("backbone", STRIDES)
def test_every_batch_norm_after_a_convolution_is_folded(backbone):
    torch.manual_seed(0)
    network = build_network(described(backbone), 4, 3).eval()
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert fold_batch_norms(network, torch.randn(1, 4, 96, 128)).count == norms


@pytest.mark.parametrize(
    ("backbone", "millions"),
    # 35.8 of fyu/drn's table less its classifier of 1000 classes, 0.51; timm's xception65, the same layers
    [("drn_d_54", 35.30), ("xception_jfzhang", 37.87)],
)
def test_parameters_are_the_known_ones(backbone, millions):
    with torch.device("meta"):
        network = build_network(described(backbone), 3, 2).backbone
    assert count_parameters(network) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("size", [(129, 77), (103, 200)])
@pytest.mark.parametrize("backbone", ["drn_d_54", "hrnetv2_32"])
@torch.inference_mode()
def test_any_size(backbone, size):
    network = build_network(described(backbone), bands=5, classes=3).eval()
    assert network(torch.zeros(1, 5, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize(
    ("backbone", "stride", "known"),
    [
        ("drn_d_54", 16, "8"),
        ("xception_jfzhang", 32, "8 or 16"),
        ("xception_vainf", 32, "8 or 16"),
        ("hrnetv2_32", 16, "32"),
    ],
)
def test_output_strides_that_the_source_does_not_have_are_refused(backbone, stride, known):
    with pytest.raises(ModelError, match=rf"output stride {stride}: its source has it at {known} only"):
        build_network(described(backbone, stride), 3, 2)


def test_without_imagenet_weights_pretraining_is_refused():
    with pytest.raises(ModelError, match="drn_d_54 has no ImageNet weights"):
        build_network(described("drn_d_54"), 3, 2, pretrained=True)


@pytest.mark.parametrize(("stride", "side"), [(8, 103), (16, 71)])
@torch.inference_mode()
def test_the_smallest_tile_of_vainfs_xception(stride, side):
    network = build_network(described("xception_vainf", stride), 3, 2).eval()
    assert network.smallest_side == side
    assert network(torch.zeros(1, 3, side, side + 3)).isfinite().all()
    with pytest.raises(ModelError, match=rf"{side - 1} x {side} px is too small .* {side} px or more"):
        network(torch.zeros(1, 3, side - 1, side))
    network.backbone.size = nn.Identity()
    with pytest.raises(RuntimeError, match="size"):
        network(torch.zeros(1, 3, side - 1, side))


def test_cost_and_reach_are_measured():
    torch.manual_seed(0)
    at_16 = described("xception_vainf")
    at_8 = with_output_stride(at_16, 8)
    assert count_multiply_adds(at_8, 3, 2, 256, 256) > 2 * count_multiply_adds(at_16, 3, 2, 256, 256)
    reach = measure_reach(build_network(at_8, 3, 2).eval(), bands=3, side=64)
    assert 0 < reach.effective <= reach.furthest <= reach.measured == 128


def manifest_of(backbone, tile=512):
    return ModelManifest(
        name="imported",
        architecture=described(backbone),
        bands=("red", "green", "blue"),
        dtype="uint8",
        scaling=z_score((1.0, 2.0, 3.0), (1.0, 1.0, 1.0)),
        tile=tile,
        overlap=0.5,
        classes=ClassTable((MapClass(0, "land", (0, 0, 255)), MapClass(1, "water", (1, 2, 3)))),
        weights_checksum="0" * 64,
    )


@pytest.mark.parametrize("backbone", STRIDES)
def test_the_manifest_round_trips(backbone):
    manifest = manifest_of(backbone)
    item = to_stac_item(manifest, "weights.safetensors", 1, 1, "PyTorch").to_dict()
    assert from_stac_item(json.loads(json.dumps(item))) == manifest


def test_a_package_whose_tiles_are_too_small_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"tile side 64 px is too small for backbone xception_vainf; 71 px"):
        save_model_package(tmp_path, manifest_of("xception_vainf", tile=64), {})
