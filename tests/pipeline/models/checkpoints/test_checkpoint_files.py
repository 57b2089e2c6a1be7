"""Files as they come: wrapped by a trainer, holding no numbers, or no checkpoint at all."""

import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.checkpoints.recognition import import_weights
from segment_tiles.pipeline.models.checkpoints.translation import ImportOptions
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.package import load_manifest, load_network, save_model_package
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.scaling.scaling import z_score
from segment_tiles.workflows.model_packages.import_result import class_table
from segment_tiles.workflows.model_packages.weights_import import ImportRequest, import_model

smp = pytest.importorskip("segmentation_models_pytorch")


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    network = smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=2, decoder_channels=16)
    return dict(network.state_dict())


def prefixed(weights, prefix, factor=1.0):
    return {f"{prefix}{k}": t * factor if t.is_floating_point() else t for k, t in weights.items()}


def classifier(imported):
    return imported.state_dict["head.classifier.weight"]


SCALING = {
    "mean": torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1),
    "std": torch.full((1, 3, 1, 1), 0.229),
}


@pytest.mark.parametrize(
    ("prefix", "beside"),
    [
        ("model.", {"criterion.weight": torch.ones(2), **SCALING}),
        ("net.module.", {"loss_fn.pos_weight": torch.ones(1), "scale": torch.ones(1)}),
        ("_orig_mod.model.", {"metrics.confmat": torch.zeros(2, 2)}),
        ("", {"criterion.weight": torch.ones(2)}),
    ],
)
def test_a_prefix_is_stripped_although_other_tensors_stand_beside(tmp_path, weights, prefix, beside):
    torch.save({"epoch": 3, "state_dict": {**prefixed(weights, prefix), **beside}}, tmp_path / "last.ckpt")
    imported = import_weights(tmp_path / "last.ckpt", ImportOptions())
    assert torch.equal(classifier(imported), weights["segmentation_head.0.weight"])
    assert set(imported.dropped) == set(beside)
    if "mean" in beside:
        assert any("mean [0.485, 0.456, 0.406]" in note and "--mean" in note for note in imported.assumptions)


@pytest.mark.parametrize(("trained", "other"), [("model.", "ema_model."), ("student.", "teacher.")])
def test_of_two_networks_the_trained_one_is_taken_and_the_other_named(tmp_path, weights, trained, other):
    state = {**prefixed(weights, other, factor=2.0), **prefixed(weights, trained)}
    torch.save({"state_dict": state}, tmp_path / "both.pth")
    imported = import_weights(tmp_path / "both.pth", ImportOptions())
    assert torch.equal(classifier(imported), weights["segmentation_head.0.weight"])
    assert len(imported.dropped) == len(weights)
    assert all(name.startswith(other) for name in imported.dropped)
    assert any(f"{trained}* was taken, {other}* left out" in note for note in imported.assumptions)


def test_sets_of_weights_beside_the_chosen_one_are_listed(tmp_path, weights):
    checkpoint = {
        "ema": prefixed(weights, "", 2.0),
        "model": weights,
        "optimizer": {"state": {}, "param_groups": []},
    }
    torch.save(checkpoint, tmp_path / "both.pth")
    imported = import_weights(tmp_path / "both.pth", ImportOptions())
    assert torch.equal(classifier(imported), weights["segmentation_head.0.weight"])
    assert imported.dropped == (f"ema ({len(weights)} tensors)",)


def test_safetensors_under_another_name_are_read(tmp_path, weights):
    save_file(weights, tmp_path / "weights.bin")
    assert torch.equal(
        classifier(import_weights(tmp_path / "weights.bin", ImportOptions())),
        weights["segmentation_head.0.weight"],
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, weights, value):
    broken = {key: tensor.clone() for key, tensor in weights.items()}
    broken["decoder.block1.0.weight"][3, 2] = value
    torch.save(broken, tmp_path / "diverged.pth")
    with pytest.raises(
        ModelError, match=r"diverged\.pth .*NaN or infinity in head\.project_low\.conv\.weight;"
    ):
        import_weights(tmp_path / "diverged.pth", ImportOptions())


def test_a_variance_below_zero_is_refused(tmp_path, weights):
    broken = {key: tensor.clone() for key, tensor in weights.items()}
    broken["decoder.block1.1.running_var"][0] = -1
    torch.save(broken, tmp_path / "damaged.pth")
    with pytest.raises(ModelError, match=r"variances below 0 in head\.project_low\.norm\.running_var"):
        import_weights(tmp_path / "damaged.pth", ImportOptions())


def test_a_package_in_halves_keeps_what_float16_cannot_hold(tmp_path):
    architecture = Architecture("deeplabv3plus", "resnet10t", 16, (1, 2))
    state = build_network(architecture, 3, 2).state_dict()
    state["head.classifier.weight"][0, 0] = 1e6
    manifest = ModelManifest(
        "large",
        architecture,
        ("r", "g", "b"),
        "uint8",
        z_score((1.0,) * 3, (1.0,) * 3),
        64,
        0.25,
        class_table(("a", "b")),
    )
    save_model_package(tmp_path, manifest, state, half=True)
    network = load_network(tmp_path, load_manifest(tmp_path))
    assert network.state_dict()["head.classifier.weight"][0, 0] == 1e6


def tar(path):
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, arcname="model/checkpoint.py")


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README.txt", "unpack me")


FILES = {
    "keras.h5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5 file, as Keras writes; export the network as ONNX"),
    "lite.pth": (b"\x20\0\0\0TFL3" + bytes(100), "TensorFlow Lite model; export"),
    "frozen.pb": (
        b"\x0a\x21\x0a\x05input\x12\x0bPlaceholder" + bytes(40),
        "frozen graph of TensorFlow; export",
    ),
    "login.pth": (
        b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
        "an HTML page, not a model; the server",
    ),
    "page.onnx": (b"<html>Quota exceeded</html>", "an HTML page"),
    "pointer.pth": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n", "git lfs pull"),
    "pointer.safetensors": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n",
        "Git LFS pointer",
    ),
    "network.xml": (b'<?xml version="1.0"?><net name="a"></net>', "OpenVINO"),
    "weights.pth.gz": (b"\x1f\x8b\x08" + bytes(20), "gzip archive; unpack it"),
    "nothing.pth": (b"", "empty"),
    "notes.pth": (b"hello there", "a text file that begins with 'hello there'"),
    "noise.pth": (bytes(range(200, 255)), "no checkpoint of PyTorch: it begins with the bytes c8 c9"),
    "packed.tar": (tar, "a tar archive; unpack it"),
    "packed.zip": (zipped, "a ZIP archive that holds README.txt"),
    "arrays.npz": (lambda path: np.savez(path, weight=np.zeros(3)), "NumPy arrays"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_checkpoint_is_named_as_what_it_is(tmp_path, name):
    content, text = FILES[name]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(ModelError) as caught:
        import_model(ImportRequest(path, tmp_path / "out", ("a", "b")))
    message = str(caught.value)
    assert message.startswith(f"{path} is ")
    assert text in message
    assert "execute code" not in message
    assert not (tmp_path / "out").exists()


def test_errors_of_a_source_name_the_users_file(tmp_path, weights):
    state = {key: tensor for key, tensor in weights.items() if not key.startswith("encoder.layer4")}
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(ModelError, match=r"part\.pth: "):
        import_weights(tmp_path / "part.pth", ImportOptions())
