"""What a run keeps of a network: the same numbers to the bit, nothing executed, and no library that built it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import fx, nn

from segment_tiles.pipeline.models.backends.conversions import BESIDE
from segment_tiles.pipeline.models.graphs.folding import fold_batch_norms
from segment_tiles.pipeline.models.graphs.graph_file import NotPlainError, read_graph, write_graph
from segment_tiles.pipeline.models.graphs.plain_layers import plain_layer
from segment_tiles.pipeline.models.graphs.rewriting import Rewritten, rewrite
from segment_tiles.pipeline.models.inference_network import load_rewritten, rewritten_for
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.package import load_manifest, load_network, save_model_package
from segment_tiles.pipeline.models.packages.manifest import Architecture
from segment_tiles.pipeline.models.registry import find_model

BUNDLED = ("canopy-rgb", "brain-tissue")


def with_norms_that_do_something(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.running_mean, layer.bias):
                tensor.data.normal_(0, 0.2, generator=generator)
            for tensor in (layer.running_var, layer.weight):
                tensor.data.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


@pytest.mark.parametrize(
    ("arch", "backbone"),
    [
        ("deeplabv3plus", "mobilenetv2_100"),
        ("deeplabv3plus", "mobilenetv3_large_100"),
        ("deeplabv3plus", "tf_efficientnet_lite0"),
        ("deeplabv3plus", "resnet10t"),
        ("deeplabv3", "resnet18"),
        ("deeplabv2", "resnet18"),
        ("deeplabv1", "vgg16"),
    ],
)
@torch.inference_mode()
def test_what_is_read_again_gives_the_same_bits(arch: str, backbone: str, tmp_path: Path) -> None:
    network = with_norms_that_do_something(build_network(Architecture(arch, backbone), 3, 4))
    folded = fold_batch_norms(network, torch.randn(1, 3, 96, 96))
    traced = rewrite(folded.network).network
    assert isinstance(traced, fx.GraphModule)
    write_graph(tmp_path, traced)
    again = read_graph(tmp_path)
    for side in (96, 131):  # an odd one: paddings depend on the size
        image = torch.randn(2, 3, side, side).to(memory_format=torch.channels_last)
        assert torch.equal(again(image), traced(image))
    assert not any(type(layer).__module__.startswith("timm") for layer in again.modules())


@pytest.mark.parametrize("name", BUNDLED)
@torch.inference_mode()
def test_bundled_models_are_kept(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = find_model(name)
    manifest = load_manifest(folder)
    built = rewritten_for(load_network(folder, manifest), manifest)
    image = torch.randn(1, len(manifest.bands), manifest.tile, manifest.tile)
    for _ in range(2):  # made, then read
        kept = load_rewritten(folder, manifest)
        assert isinstance(kept, Rewritten)
        assert kept.upsampling == built.upsampling
        assert kept.folded_batch_norms == built.folded_batch_norms
        assert torch.equal(kept.network(image), built.network(image))
    assert len(list((tmp_path / "segment-tiles" / BESIDE).glob("rewritten-*"))) == 1


def test_the_second_start_needs_no_library_that_builds_networks(small_model: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    shutil.copytree(small_model, package, ignore=shutil.ignore_patterns(BESIDE))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from segment_tiles.pipeline.models.inference_network import load_rewritten\n"
        "from segment_tiles.pipeline.models.package import load_manifest\n"
        f"folder = Path({str(package)!r})\n"
        "load_rewritten(folder, load_manifest(folder))\n"
        "print(*(name for name in ('timm', 'torchvision', 'torch._dynamo', 'sympy') if name in sys.modules))"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert "timm" in said[0]
    assert said[1] == []


def test_a_damaged_one_is_made_again(small_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = load_manifest(small_model)
    first = load_rewritten(small_model, manifest)
    (kept,) = (small_model / BESIDE).glob("rewritten-*")
    (kept / "tensors.safetensors").write_bytes(b"damaged")
    again = load_rewritten(small_model, manifest)
    assert "is damaged" in caplog.text
    image = torch.randn(1, 3, 64, 64)
    assert isinstance(first, Rewritten)
    assert isinstance(again, Rewritten)
    assert torch.equal(first.network(image), again.network(image))


class Wave(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.sin(image)


class Outside(nn.Module):
    """Asks a tensor for something that is no step of a network."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + image.grad_fn


@pytest.mark.parametrize("network", [Wave(), Outside(), nn.Sequential(nn.PReLU())])
def test_steps_that_are_not_listed_are_refused(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(NotPlainError):
        write_graph(
            tmp_path, fx.symbolic_trace(nn.Sequential(network) if isinstance(network, nn.PReLU) else network)
        )


def test_what_cannot_be_kept_is_said_in_the_log(
    small_model: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with caplog.at_level(logging.INFO):
        assert isinstance(load_rewritten(small_model, load_manifest(small_model)), Rewritten)
    assert "cannot be kept" in caplog.text


def test_other_weights_are_another_network(small_model: Path, tmp_path: Path) -> None:
    manifest = load_manifest(small_model)
    first = load_rewritten(small_model, manifest)
    network = load_network(small_model, manifest)
    with torch.no_grad():
        next(iter(network.parameters())).mul_(1.5)
    other = tmp_path / "other"
    shutil.copytree(small_model, other)
    changed = save_model_package(other, manifest, network.state_dict())
    second = load_rewritten(other, changed)
    image = torch.randn(1, 3, 64, 64)
    assert isinstance(first, Rewritten)
    assert isinstance(second, Rewritten)
    assert not torch.equal(first.network(image), second.network(image))


def test_a_kept_file_is_plain_data(small_model: Path) -> None:
    load_rewritten(small_model, load_manifest(small_model))
    (kept,) = (small_model / BESIDE).glob("rewritten-*")
    assert {path.suffix for path in kept.iterdir()} == {".json", ".safetensors"}
    steps = json.loads((kept / "steps.json").read_text())["steps"]
    assert {step["op"] for step in steps} <= {
        "placeholder",
        "call_module",
        "call_function",
        "call_method",
        "output",
    }


def test_a_layer_of_torch_stays_as_it_is() -> None:
    layer = nn.Conv2d(3, 3, 1)
    assert plain_layer(layer) is layer


@torch.inference_mode()
def test_the_same_weights_at_another_output_stride_are_another_network(
    tmp_path: Path, small_model: Path
) -> None:
    """The key of what is kept was once the weights alone; `model stride` and an editor change the rest."""
    manifest = load_manifest(small_model)
    package = tmp_path / "package"
    weights = load_network(small_model, manifest).state_dict()
    image = torch.randn(1, 3, manifest.tile, manifest.tile)
    found = []
    for stride in (16, 8):
        architecture = replace(manifest.architecture, output_stride=stride)
        saved = save_model_package(package, replace(manifest, architecture=architecture), weights)
        assert saved.weights_checksum == manifest.weights_checksum
        kept = load_rewritten(package, saved)
        built = rewritten_for(load_network(package, saved), saved)
        assert isinstance(kept, Rewritten)
        found.append(kept.network(image))
        assert torch.equal(found[-1], built.network(image))
    assert found[0].shape != found[1].shape or not torch.equal(*found)
