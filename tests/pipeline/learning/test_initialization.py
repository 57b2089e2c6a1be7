"""First weights of a backbone may be those of a model package."""

from __future__ import annotations

from pathlib import Path

import torch

from segment_tiles.pipeline.learning.training.initialization import backbone_of, load_backbone
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.package import load_manifest, load_network


def test_the_backbone_of_a_model_package_is_a_start(small_model: Path) -> None:
    manifest = load_manifest(small_model)
    trained = backbone_of(load_network(small_model, manifest)).state_dict()
    torch.manual_seed(99)
    fresh = backbone_of(build_network(manifest.architecture, 3, 2))
    assert not torch.equal(fresh.state_dict()["conv1.0.weight"], trained["conv1.0.weight"])
    load_backbone(fresh, "weights.safetensors", small_model)
    assert all(torch.equal(value, trained[name]) for name, value in fresh.state_dict().items())


def test_colour_weights_start_a_backbone_of_one_band(small_model: Path) -> None:
    manifest = load_manifest(small_model)
    colour = backbone_of(load_network(small_model, manifest)).eval()
    grey = backbone_of(build_network(manifest.architecture, 1, 2)).eval()
    load_backbone(grey, "weights.safetensors", small_model)
    picture = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, ours = colour(picture.expand(1, 3, 64, 64)), grey(picture)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(expected, ours, strict=True))
