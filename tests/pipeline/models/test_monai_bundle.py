"""MONAI bundles, made by monai.bundle's own tools: read without evaluating an expression."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import init_bundle
from monai.networks.nets import UNet

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.models.checkpoints.monai_bundle import is_bundle, read_bundle
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.workflows.model_import import ImportRequest, import_model

ARGUMENTS: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8, 16],
    "strides": [2, 2],
    "norm": "batch",
}
SCALING = {
    "_target_": "ScaleIntensityRanged",
    "keys": "image",
    "a_min": -50,
    "a_max": 150,
    "b_min": 0,
    "b_max": 1,
    "clip": True,
}


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(3)
    return UNet(**ARGUMENTS).eval()


def make_bundle(
    folder: Path, network: torch.nn.Module, definition: object, transforms: object = (SCALING,)
) -> Path:
    metadata = {
        "name": "Abdomen",
        "version": "0.2.0",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 1, "spatial_shape": [96, 96]}},
            "outputs": {"pred": {"channel_def": {"0": "background", "1": "liver", "2": "spleen"}}},
        },
    }
    inference = {
        "imports": ["$import pathlib"],
        "bundle_root": ".",
        "outputs": 3,
        "network_def": definition,
        "network": "$@network_def.to('cpu')",
        "preprocessing": {"_target_": "Compose", "transforms": list(transforms)},
    }
    init_bundle(folder, network=network, metadata_str=metadata, inference_str=inference)
    assert is_bundle(folder)
    return folder


def test_a_bundle_becomes_a_package_that_answers_as_its_network(tmp_path: Path, network: UNet) -> None:
    bundle = make_bundle(tmp_path / "bundle", network, {"_target_": "UNet", **ARGUMENTS})
    with pytest.raises(ModelError, match="is a MONAI bundle; make a package of it"):
        find_model(str(bundle))
    result = import_model(ImportRequest(bundle, tmp_path / "package", (), dtype="int16"))
    manifest = load_manifest(tmp_path / "package")
    assert manifest.classes.names == ("background", "liver", "spleen")
    assert (manifest.mean, manifest.std, manifest.tile) == ((-50.0,), (200.0,), 96)
    assert any("not cut off" in note for note in result.assumptions)
    image = torch.randn(2, 1, 40, 52)
    rebuilt = load_network(tmp_path / "package", manifest)
    with torch.inference_mode():
        assert torch.equal(rebuilt(image), network(image))
        assert rebuilt(torch.randn(1, 1, 37, 41)).shape == (1, 3, 37, 41)


def test_an_expression_is_not_evaluated_unless_trusted(tmp_path: Path, network: UNet) -> None:
    trace = tmp_path / "executed"
    program = f"$__import__('pathlib').Path('{trace}').write_text('x') and 3"
    definition = {"_target_": "monai.networks.nets.UNet", **ARGUMENTS, "out_channels": program}
    bundle = make_bundle(tmp_path / "bundle", network, definition)
    with pytest.raises(ModelError, match=r"holds the expression .* say --trust"):
        read_bundle(bundle)
    assert not trace.exists()
    definition["out_channels"] = "@outputs"
    reference = make_bundle(tmp_path / "reference", network, definition)
    with pytest.raises(ModelError, match="'@outputs'"):
        read_bundle(reference)
    assert read_bundle(reference, trust=True).architecture.details["arguments"]["out_channels"] == 3


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"_target_": "UNet", **ARGUMENTS, "spatial_dims": 3}, "has 3 dimensions; only networks of two"),
        ({"_target_": "os.system", "command": "true"}, "only classes of monai.networks.nets are built"),
        ({"_target_": "VNet", **ARGUMENTS}, "VNet is not on the list"),
        ({"_target_": "UNet", **ARGUMENTS, "out_channels": 1}, "has 1 output; at least two"),
        ({"_target_": "UNet", **ARGUMENTS, "colour": 1}, "MONAI cannot build UNet"),
        ({"spatial_dims": 2}, "names no class as _target_"),
    ],
)
def test_what_cannot_run_is_refused(
    tmp_path: Path, network: UNet, definition: dict[str, Any], message: str
) -> None:
    bundle = make_bundle(tmp_path / "bundle", network, definition)
    with pytest.raises(ModelError, match=message):
        read_bundle(bundle)


def test_scaling_by_each_picture_needs_the_users_numbers(tmp_path: Path, network: UNet) -> None:
    transforms = [{"_target_": "ScaleIntensityd", "keys": "image"}]
    bundle = make_bundle(tmp_path / "bundle", network, {"_target_": "UNet", **ARGUMENTS}, transforms)
    with pytest.raises(UsageError, match="--mean is needed"):
        import_model(ImportRequest(bundle, tmp_path / "package", ()))
    import_model(ImportRequest(bundle, tmp_path / "package", (), mean=(10.0,), std=(20.0,)))
    assert load_manifest(tmp_path / "package").mean == (10.0,)


def test_weights_that_execute_code_are_refused(tmp_path: Path, network: UNet) -> None:
    bundle = make_bundle(tmp_path / "bundle", network, {"_target_": "UNet", **ARGUMENTS})
    torch.save(network, bundle / "models" / "model.pt")
    with pytest.raises(ModelError, match="would execute code"):
        read_bundle(bundle)


def test_damaged_metadata_is_one_line(tmp_path: Path, network: UNet) -> None:
    bundle = make_bundle(tmp_path / "bundle", network, {"_target_": "UNet", **ARGUMENTS})
    (bundle / "configs" / "metadata.json").write_text(json.dumps([1]))
    with pytest.raises(ModelError, match="holds a list; a mapping is needed"):
        read_bundle(bundle)
