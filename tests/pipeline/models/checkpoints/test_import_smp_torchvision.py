"""Logits after import equal those of the source library's own model, from the same weights."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.models.checkpoints.recognition import import_weights
from segment_tiles.pipeline.models.checkpoints.translation import ImportOptions
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.workflows.model_packages.weights_import import ImportRequest, import_model

smp = pytest.importorskip("segmentation_models_pytorch")
segmentation = pytest.importorskip("torchvision.models.segmentation")


@torch.inference_mode()
def relative_difference(ours: nn.Module, theirs: nn.Module, bands: int, height: int, width: int) -> float:
    image = torch.randn(2, bands, height, width, generator=torch.Generator().manual_seed(1))
    expected = theirs(image)
    expected = expected["out"] if isinstance(expected, dict) else expected
    found = ours(image)
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / (expected.max() - expected.min()))


def imported_network(path, options=None):
    imported = import_weights(path, options or ImportOptions())
    network = build_network(imported.architecture, imported.bands, imported.classes)
    network.load_state_dict(dict(imported.state_dict))
    return network.eval(), imported


@pytest.mark.parametrize(
    ("model", "encoder", "settings"),
    [
        ("DeepLabV3", "resnet34", {}),
        ("DeepLabV3", "resnet50", {"encoder_output_stride": 16, "decoder_aspp_separable": True}),
        ("DeepLabV3", "mobilenet_v2", {"decoder_atrous_rates": (6, 12, 18)}),
        ("DeepLabV3Plus", "resnet34", {"in_channels": 4, "decoder_channels": 64}),
        ("DeepLabV3Plus", "resnet50", {}),
        ("DeepLabV3Plus", "mobilenet_v2", {"encoder_output_stride": 8, "aux_params": {"classes": 2}}),
        ("DeepLabV3Plus", "resnet18", {"decoder_aspp_separable": False}),
        ("DeepLabV3Plus", "tu-resnet18", {"in_channels": 5}),
        ("DeepLabV3Plus", "tu-xception41", {}),
        ("Unet", "resnet18", {}),
    ],
)
def test_smp_folder(tmp_path, with_lively_norms, model, encoder, settings):
    torch.manual_seed(0)
    theirs = with_lively_norms(
        getattr(smp, model)(encoder_name=encoder, encoder_weights=None, classes=3, **settings)
    )
    theirs.save_pretrained(tmp_path)
    ours, imported = imported_network(tmp_path)
    theirs.classification_head = None  # its result is no part of the segmentation
    assert imported.bands == settings.get("in_channels", 3)
    assert relative_difference(ours, theirs, imported.bands, 64, 96) <= 1e-5


def test_smp_bare_and_lightning_weights(tmp_path, with_lively_norms):
    torch.manual_seed(0)
    theirs = with_lively_norms(smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=2))
    lightning = {"epoch": 3, "state_dict": {f"model.{k}": v for k, v in theirs.state_dict().items()}}
    torch.save(lightning, tmp_path / "lightning.ckpt")
    torch.save(theirs.state_dict(), tmp_path / "bare.pth")
    save_file(theirs.state_dict(), tmp_path / "bare.safetensors")
    for name in ("lightning.ckpt", "bare.pth", "bare.safetensors"):
        ours, imported = imported_network(tmp_path / name)
        assert relative_difference(ours, theirs, 3, 64, 96) <= 1e-5
        assert "output stride 16 and rates (12, 24, 36)" in imported.assumptions[0]


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large"])
def test_torchvision(tmp_path, with_lively_norms, name):
    torch.manual_seed(0)
    theirs = with_lively_norms(
        getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=4, aux_loss=True)
    )
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours, imported = imported_network(tmp_path / "weights.pth")
    assert all(key.startswith("aux_classifier.") for key in imported.dropped)
    assert imported.dropped
    assert relative_difference(ours, theirs, 3, 65, 80) <= 1e-5


@pytest.mark.parametrize("names", [("tree",), ("rest", "tree")])
@pytest.mark.parametrize(("model", "activation"), [("Unet", "sigmoid"), ("DeepLabV3Plus", None)])
def test_one_output_becomes_background_and_class(tmp_path, with_lively_norms, model, activation, names):
    torch.manual_seed(0)
    theirs = with_lively_norms(
        getattr(smp, model)("resnet18", encoder_weights=None, classes=1, activation=activation)
    )
    theirs.save_pretrained(tmp_path / "smp")
    result = import_model(ImportRequest(tmp_path / "smp", tmp_path / "package", names))
    manifest = load_manifest(tmp_path / "package")
    assert manifest.classes.names == ("background" if len(names) == 1 else "rest", "tree")
    said = "one output and one name: the classes are background and tree"
    assert (said in result.assumptions) == (len(names) == 1)
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        found = load_network(tmp_path / "package", manifest)(image).softmax(1)[:, 1:]
        expected = theirs(image) if activation else theirs(image).sigmoid()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["softmax2d", "logsoftmax", "argmax2d"])
def test_an_activation_after_the_logits_leaves_them_alone(tmp_path, activation):
    theirs = smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=3).eval()
    theirs.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "activation": activation}))
    ours, _ = imported_network(tmp_path)
    assert relative_difference(ours, theirs, 3, 64, 64) <= 1e-5


@pytest.mark.parametrize(
    ("model", "settings", "text"),
    [
        ("Unet", {"activation": "sigmoid", "classes": 3}, "sigmoid for 3 classes, which may overlap"),
        (
            "DeepLabV3Plus",
            {"activation": "sigmoid", "classes": 3},
            "sigmoid for 3 classes, which may overlap",
        ),
        (
            "DeepLabV3Plus",
            {"activation": "tanh", "classes": 3},
            "'tanh' for 3 classes; none, softmax is needed",
        ),
        (
            "Unet",
            {"activation": "softmax2d", "classes": 1},
            "'softmax2d' for 1 classes; none, sigmoid is needed",
        ),
        ("DeepLabV3Plus", {"upsampling": 8, "classes": 3}, r"upsampling is 8.* 1024 x 1024 px .* 512 x 512"),
        ("FPN", {"upsampling": 8, "classes": 3}, r"answers 64 x 64 px by 128 x 128 px"),
    ],
)
def test_outputs_that_are_no_map_of_classes_are_refused(tmp_path, model, settings, text):
    getattr(smp, model)("resnet18", encoder_weights=None, **settings).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=text) as caught:
        import_weights(tmp_path, ImportOptions())
    assert str(tmp_path) in str(caught.value)


def test_the_classifier_of_whole_images_is_left_out(tmp_path, with_lively_norms):
    aux = {"classes": 2}
    theirs = with_lively_norms(smp.Unet("resnet18", encoder_weights=None, classes=3, aux_params=aux))
    theirs.save_pretrained(tmp_path)
    ours, imported = imported_network(tmp_path)
    assert all(key.startswith("classification_head.") for key in imported.dropped)
    theirs.classification_head = None
    assert relative_difference(ours, theirs, 3, 64, 64) <= 1e-5


def test_statistics_are_those_of_the_encoder(tmp_path):
    """timm's xception41 was trained with 0.5, not with ImageNet's mean."""
    network = smp.DeepLabV3Plus("tu-xception41", encoder_weights=None, classes=2, decoder_channels=16)
    network.save_pretrained(tmp_path / "smp")
    result = import_model(ImportRequest(tmp_path / "smp", tmp_path / "package", ("a", "b")))
    assert load_manifest(tmp_path / "package").mean == (127.5,) * 3
    assert "mean and std: those of timm's xception41, times 255" in result.assumptions


def test_an_encoder_with_statistics_of_its_own_needs_the_users_numbers(tmp_path):
    network = smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=2, decoder_channels=16)
    network.save_pretrained(tmp_path / "smp")
    config = json.loads((tmp_path / "smp" / "config.json").read_text())
    (tmp_path / "smp" / "config.json").write_text(json.dumps({**config, "encoder_weights": "advprop"}))
    with pytest.raises(UsageError, match="--mean is needed: the encoder"):
        import_model(ImportRequest(tmp_path / "smp", tmp_path / "package", ("a", "b")))
