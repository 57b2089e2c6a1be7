"""Networks: the paper's costs, any size, batches of one, and what output stride and pooling do."""

import sys
import warnings

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from segment_tiles.pipeline.errors import MissingExtraError, ModelError
from segment_tiles.pipeline.models.graphs.folding import fold_batch_norms
from segment_tiles.pipeline.models.inspection import count_multiply_adds, count_parameters
from segment_tiles.pipeline.models.networks.backbones import build_backbone
from segment_tiles.pipeline.models.networks.build import build_network, with_output_stride
from segment_tiles.pipeline.models.networks.layers import mean_of_window
from segment_tiles.pipeline.models.networks.settings import default_rates
from segment_tiles.pipeline.models.packages.manifest import Architecture

XCEPTION_65 = Architecture("deeplabv3plus", "xception65", 16, (6, 12, 18), "global")


def light(pooling="off", window=None, **details):
    details = {"channels": 32, **details}
    return Architecture("deeplabv3plus", "resnet10t", 16, (1, 2, 3), pooling, window, details=details)


@pytest.mark.parametrize(("stride", "billions"), [(16, 54.17), (8, 177.10)])
def test_multiply_adds_are_those_of_the_paper(stride, billions):
    # DeepLabv3+, table 5: Xception-65, decoder, separable convolutions, 513 x 513, 21 classes
    architecture = with_output_stride(XCEPTION_65, stride)
    found = count_multiply_adds(architecture, bands=3, classes=21, height=513, width=513)
    assert found / 1e9 == pytest.approx(billions, rel=0.01)


def test_parameters_of_v1_are_those_of_the_paper():
    # DeepLabv1, section 5.1: LargeFOV has 20.5 million
    with torch.device("meta"):
        network = build_network(Architecture("deeplabv1", "vgg16", 8, (12,)), 3, 21)
    assert count_parameters(network) / 1e6 == pytest.approx(20.5, abs=0.05)


@pytest.mark.parametrize("size", [(513, 513), (512, 512), (500, 500), (129, 77), (33, 200), (7, 5)])
def test_any_size(size):
    network = build_network(light("window", 5), bands=5, classes=3).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 5, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize(
    ("arch", "backbone", "stride"),
    [
        ("deeplabv1", "vgg16", 8),
        ("deeplabv1", "vgg16", 32),
        ("deeplabv2", "vgg16", 16),
        ("deeplabv2", "resnet18", 8),
        ("deeplabv3", "resnet18", 16),
        ("deeplabv3", "mobilenetv3_large_100", 32),
        ("deeplabv3plus", "mobilenetv2_100", 8),
        ("deeplabv3plus", "convnext_atto", 16),
        ("unet", "basic", 32),
    ],
)
def test_every_member_of_the_family(arch, backbone, stride):
    details = {"widths": (8, 8, 16, 32, 64, 8)} if arch == "unet" else {}
    rates = default_rates(arch, stride) if arch != "unet" else (1,)
    network = build_network(Architecture(arch, backbone, stride, rates, details=details), 2, 4).eval()
    with torch.inference_mode():
        logits = network(torch.randn(2, 2, 40, 33))
    assert logits.shape == (2, 4, 40, 33)
    assert logits.isfinite().all()


@pytest.mark.parametrize(("pooling", "window"), [("global", None), ("window", 3), ("off", None)])
@pytest.mark.parametrize("arch", ["deeplabv3", "deeplabv3plus"])
def test_batches_of_one_train(arch, pooling, window):
    network = build_network(Architecture(arch, "resnet10t", 16, (1, 2), pooling, window), 3, 2).train()
    network(torch.randn(1, 3, 48, 64)).mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_pooled_batch_norm_learns_again_from_larger_batches():
    network = build_network(light("global"), 3, 2).train()
    norm = network.head.pyramid.pooling.norm
    before = norm.running_mean.clone()
    network(torch.randn(1, 3, 48, 64))
    assert torch.equal(norm.running_mean, before)
    network(torch.randn(2, 3, 48, 64))
    assert not torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2_100", "xception41"])
def test_halving_the_output_stride_refines_the_same_features(backbone, with_lively_norms):
    """Strides become rates everywhere at once: every other value at 8 is the value at 16, exactly."""
    torch.manual_seed(0)
    at_16 = Architecture("deeplabv3", backbone, 16, (1, 2, 3))
    at_8 = with_output_stride(at_16, 8)
    assert at_8.atrous_rates == (2, 4, 6)
    coarse = with_lively_norms(build_network(at_16, 3, 4))
    fine = build_network(at_8, 3, 4).eval()
    fine.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 3, 65, 97)
    with torch.inference_mode():
        at_half = coarse.head(None, coarse.backbone(image)[-1])
        at_full = fine.head(None, fine.backbone(image)[-1])
    assert at_full.shape[-2:] == (9, 13)
    assert at_half.shape[-2:] == (5, 7)
    torch.testing.assert_close(at_full[..., ::2, ::2], at_half, rtol=1e-4, atol=1e-5)


def test_output_stride_8_doubles_every_rate_of_the_backbone():
    def rates(stride):
        network = build_backbone("resnet50", 3, stride).network
        return [b.conv2.dilation[0] for stage in (network.layer3, network.layer4) for b in stage]

    assert rates(32) == [1] * 6 + [1] * 3
    assert rates(16) == [1] * 6 + [1, 2, 2]
    assert rates(8) == [1, 2, 2, 2, 2, 2, 2, 4, 4]


@pytest.mark.parametrize(
    ("scheme", "grid", "stride", "expected"),
    [
        ("whole_stage", None, 16, [1] * 6 + [2] * 3),
        ("whole_stage", (1, 2, 4), 16, [1] * 6 + [2, 4, 8]),
        ("whole_stage", (1, 2, 4), 8, [2] * 6 + [4, 8, 16]),
        ("later_blocks", None, 8, [1, 2, 2, 2, 2, 2, 2, 4, 4]),
        ("next_stage", None, 8, [1] * 6 + [2] * 3),
    ],
)
def test_dilation_schemes(scheme, grid, stride, expected):
    network = build_backbone("resnet50", 3, stride, dilation=scheme, multi_grid=grid).network
    assert [b.conv2.dilation[0] for stage in (network.layer3, network.layer4) for b in stage] == expected


@pytest.mark.parametrize(
    ("name", "stride"), [("xception41", 8), ("resnet50", 8), ("mobilenetv3_large_100", 16)]
)
def test_features_are_timms_own(name, stride, with_lively_norms):
    torch.manual_seed(0)
    theirs = with_lively_norms(timm.create_model(name, features_only=True, output_stride=stride, in_chans=4))
    backbone = build_backbone(name, 4, stride)
    ours = backbone.network.eval()
    # hooks flatten blocks.0 to blocks_0, the getter puts everything under model: order and shapes are the same
    pairs = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(pairs))
    image = torch.randn(1, 4, 33, 65)
    with torch.inference_mode():
        found, expected = ours(image), theirs(image)
    torch.testing.assert_close(found[backbone.low_index], expected[1])
    torch.testing.assert_close(found[-1], expected[-1])
    assert found[backbone.low_index].shape[-2:] == (9, 17)
    assert found[-1].shape[1] == backbone.channels


@torch.inference_mode()
def two_tilings(pooling, window, with_lively_norms):
    """Logits of the columns that lie deep inside two tiles, which cut the same scene at other places."""
    torch.manual_seed(0)
    network = with_lively_norms(build_network(light(pooling, window), 3, 4))
    brightness = torch.linspace(-1, 6, 704)  # differs from tile to tile
    scene = torch.randn(1, 3, 32, 704) + brightness
    left, right = network(scene[..., :640]), network(scene[..., 64:])
    reach = 256  # of this network: residual stages, rate 3 at stride 16, window of 5, decoder
    inside_left, inside_right = left[..., 64 + reach : 640 - reach], right[..., reach : 576 - reach]
    assert inside_left.shape[-1] == 64
    return float((inside_left - inside_right).abs().max() / (left.max() - left.min()))


def test_window_pooling_does_not_depend_on_the_tile(with_lively_norms, record_property):
    window = two_tilings("window", 5, with_lively_norms)
    without = two_tilings("off", None, with_lively_norms)
    whole = two_tilings("global", None, with_lively_norms)
    record_property("difference_window_off_global", (window, without, whole))
    # shown by pytest -rP
    sys.stdout.write(
        f"two tilings differ, of the range: window {window:.1e}, off {without:.1e}, global {whole:.1e}\n"
    )
    assert window <= 1e-5
    assert without <= 1e-5
    assert whole > 1e-3


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 7), st.integers(0, 2**31))
def test_window_mean_counts_only_what_is_inside(height, width, half, seed):
    features = torch.randn(1, 2, height, width, generator=torch.Generator().manual_seed(seed))
    found = mean_of_window(features, 2 * half + 1)
    for row in range(height):
        for column in range(width):
            rows = slice(max(row - half, 0), row + half + 1)
            columns = slice(max(column - half, 0), column + half + 1)
            expected = features[:, :, rows, columns].mean((2, 3))
            torch.testing.assert_close(found[:, :, row, column], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_onnx_takes_any_size(tmp_path):
    """Sizes are read from tensors, so an exported graph follows its input."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = build_network(light("window", 3), 3, 2).eval()
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.randn(2, 3, 64, 96),), str(tmp_path / "net.onnx"), dynamo=True, verbose=False,
            dynamic_shapes=(free,), external_data=False,
        )  # fmt: skip
    session = runtime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    image = torch.randn(1, 3, 81, 70)
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(found), network(image), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "backbone"), [("unet", "basic"), ("deeplabv3plus", "xception41"), ("deeplabv2", "resnet18")]
)
def test_folding_batch_norms_keeps_the_function(arch, backbone, with_lively_norms):
    """The segmenter folds batch norms by tracing; a network that tracing would change must refuse it."""
    network = with_lively_norms(build_network(Architecture(arch, backbone, 16, (1, 2)), 3, 2))
    image = torch.randn(1, 3, 48, 64)
    folded = fold_batch_norms(network, image)
    assert (folded.count > 0) is (arch != "unet")
    with torch.inference_mode():
        torch.testing.assert_close(folded.network(image), network(image), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "text"),
    [
        (Architecture("deeplabv4", "resnet18"), "deeplabv4"),
        (Architecture("deeplabv3plus", "resnet1"), "resnet1"),
        (Architecture("deeplabv3plus", "resnet18", 4), "output stride is 4"),
        (Architecture("deeplabv3plus", "resnet18", 16, ()), "atrous rates"),
        (Architecture("deeplabv3plus", "resnet18", image_pooling="window"), "odd number"),
        (Architecture("deeplabv3plus", "resnet18", image_pooling="window", image_pooling_window=32), "odd"),
        (Architecture("deeplabv3plus", "resnet18", image_pooling="some"), "image_pooling"),
        (Architecture("deeplabv3plus", "resnet18", details={"colour": 1}), "colour"),
        (Architecture("deeplabv3plus", "xception71", 8), "shortcut"),
        (Architecture("deeplabv3plus", "vgg16", 8), "stride 4"),
        (Architecture("deeplabv3plus", "swin_tiny_patch4_window7_224", 16), "swin"),
        (Architecture("deeplabv3", "resnet18", details={"multi_grid": (1, 2, 4)}), "multi_grid"),
        (Architecture("segformer", "resnet0"), "resnet0"),
        (Architecture("smp", "resnet18", details={"model_class": "system"}), "system"),
    ],
)
def test_what_cannot_be_built_is_named(architecture, text):
    with pytest.raises(ModelError, match=text):
        build_network(architecture, 3, 2)


def test_output_stride_without_whole_rates_is_refused():
    with pytest.raises(ModelError, match="whole"):
        with_output_stride(Architecture("deeplabv3plus", "resnet18", 8, (3, 5)), 16)


def test_pooling_window_follows_the_output_stride():
    at_16 = Architecture("deeplabv3plus", "resnet18", 16, (6,), "window", 33)  # 513 at 16
    assert with_output_stride(at_16, 8).image_pooling_window == 65  # 513 at 8


def test_pretrained_weights_without_a_network_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ModelError, match="ImageNet weights of backbone 'resnet18' are neither in timm's cache"
    ):
        build_network(Architecture("deeplabv3plus", "resnet18"), 3, 2, pretrained=True)


def test_xception_71_is_whole_at_16():
    with torch.device("meta"):
        network = build_network(Architecture("deeplabv3plus", "xception71", 16), 3, 2)
    assert count_parameters(network) > 40e6


def test_comparison_networks_need_their_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(MissingExtraError, match=r"segment-tiles\[networks\]"):
        build_network(Architecture("segformer", "mit_b0"), 3, 2)


@pytest.mark.parametrize(("arch", "backbone"), [("segformer", "mit_b0"), ("unet", "resnet18")])
def test_comparison_networks_take_any_size(arch, backbone):
    pytest.importorskip("segmentation_models_pytorch")
    network = build_network(Architecture(arch, backbone), 4, 3).eval()
    with torch.inference_mode():
        assert network(torch.randn(1, 4, 50, 71)).shape == (1, 3, 50, 71)
    assert not any(isinstance(m, nn.InstanceNorm2d) for m in network.modules())
