"""Logits after import equal those of the source library's own model, from the same weights."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segment_tiles.pipeline.models.build import build_network
from segment_tiles.pipeline.models.checkpoints.recognition import import_weights
from segment_tiles.pipeline.models.checkpoints.translation import ImportOptions

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
    assert relative_difference(ours, theirs, imported.bands, 64, 96) <= 1e-4


def test_smp_bare_and_lightning_weights(tmp_path, with_lively_norms):
    torch.manual_seed(0)
    theirs = with_lively_norms(smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=2))
    lightning = {"epoch": 3, "state_dict": {f"model.{k}": v for k, v in theirs.state_dict().items()}}
    torch.save(lightning, tmp_path / "lightning.ckpt")
    torch.save(theirs.state_dict(), tmp_path / "bare.pth")
    save_file(theirs.state_dict(), tmp_path / "bare.safetensors")
    for name in ("lightning.ckpt", "bare.pth", "bare.safetensors"):
        ours, imported = imported_network(tmp_path / name)
        assert relative_difference(ours, theirs, 3, 64, 96) <= 1e-4
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
    assert relative_difference(ours, theirs, 3, 65, 80) <= 1e-4
