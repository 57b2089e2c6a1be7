"""MONAI bundles, made by monai.bundle's own tools: read without evaluating an expression."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import init_bundle
from monai.networks.nets import BasicUNetPlusPlus, UNet

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.models.checkpoints.monai.bundle import is_bundle, read_bundle
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.models.scaling.scaler import Scaler
from segment_tiles.workflows.model_packages.weights_import import ImportRequest, import_model

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
    folder: Path,
    network: torch.nn.Module,
    definition: object,
    transforms: object = (SCALING,),
    after: object = (),
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
        "postprocessing": {"_target_": "Compose", "transforms": list(after)},
    }
    init_bundle(folder, network=network, metadata_str=metadata, inference_str=inference)
    assert is_bundle(folder)
    return folder


def test_a_bundle_becomes_a_package_that_answers_as_its_network(tmp_path: Path, network: UNet) -> None:
    bundle = make_bundle(tmp_path / "bundle", network, {"_target_": "UNet", **ARGUMENTS})
    with pytest.raises(ModelError, match="is a MONAI bundle; make a package of it"):
        find_model(str(bundle))
    import_model(ImportRequest(bundle, tmp_path / "package", (), dtype="int16"))
    manifest = load_manifest(tmp_path / "package")
    assert manifest.classes.names == ("background", "liver", "spleen")
    assert (str(manifest.scaling), manifest.tile) == ("min-max -50, 150 then clip 0, 1", 96)
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


def test_a_scaling_that_cannot_be_followed_needs_the_users_numbers(tmp_path: Path, network: UNet) -> None:
    transforms = [{"_target_": "AdjustContrastd", "keys": "image", "gamma": 2}]
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


SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
HALF = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}


@pytest.mark.parametrize("names", [("liver",), ("rest", "liver")])
def test_one_output_becomes_background_and_class(tmp_path: Path, names: tuple[str, ...]) -> None:
    torch.manual_seed(3)
    arguments = {**ARGUMENTS, "out_channels": 1}
    network = UNet(**arguments).eval()
    bundle = make_bundle(tmp_path / "b", network, {"_target_": "UNet", **arguments}, after=(SIGMOID, HALF))
    result = import_model(ImportRequest(bundle, tmp_path / "package", names, dtype="int16"))
    manifest = load_manifest(tmp_path / "package")
    assert manifest.classes.names == ("background" if len(names) == 1 else "rest", "liver")
    assert any("one output read by sigmoid" in note for note in result.assumptions)
    image = torch.randn(2, 1, 40, 52)
    with torch.inference_mode():
        found = load_network(tmp_path / "package", manifest)(image).softmax(1)[:, 1:]
        torch.testing.assert_close(found, network(image).sigmoid())


@pytest.mark.parametrize(
    ("outputs", "after", "message"),
    [
        (3, [SIGMOID, HALF], r"sigmoid of each of 3 outputs, so that classes may overlap"),
        (3, [HALF], r"compares each of 3 outputs with 0\.5"),
        (1, [{"_target_": "monai.transforms.Activationsd", "softmax": True}], r"softmax of one output"),
        (1, [SIGMOID, {**HALF, "threshold": 0.3}], r"compares a sigmoid with 0\.3"),
        (1, [HALF], r"compares a logit with 0\.5"),
        (3, [{**SIGMOID, "sigmoid": "@sigmoid"}], r"'@sigmoid', an expression"),
        (3, [{"_target_": "Activationsd", "other": "tanh"}], r"activation 'tanh'"),
    ],
)
def test_outputs_that_are_no_classes_are_refused(
    tmp_path: Path, outputs: int, after: list[dict[str, Any]], message: str
) -> None:
    arguments = {**ARGUMENTS, "out_channels": outputs}
    bundle = make_bundle(tmp_path / "b", UNet(**arguments), {"_target_": "UNet", **arguments}, after=after)
    with pytest.raises(ModelError, match=message):
        read_bundle(bundle)


def test_steps_after_the_network_that_are_not_done_are_said(tmp_path: Path, network: UNet) -> None:
    softmax = {"_target_": "Activationsd", "softmax": True}
    largest = {"_target_": "KeepLargestConnectedComponentd", "applied_labels": [1]}
    after = [softmax, {"_target_": "AsDiscreted", "argmax": True}, largest, {**largest, "_disabled_": True}]
    bundle = make_bundle(tmp_path / "b", network, {"_target_": "UNet", **ARGUMENTS}, after=after)
    assert (
        "not done here, of the bundle's postprocessing: KeepLargestConnectedComponent"
        in read_bundle(bundle).assumptions
    )


NORMALIZE = {"_target_": "NormalizeIntensityd", "keys": "image", "subtrahend": 0.5, "divisor": 0.25}


def test_two_scalings_are_composed(tmp_path: Path, network: UNet) -> None:
    bundle = make_bundle(tmp_path / "b", network, {"_target_": "UNet", **ARGUMENTS}, (SCALING, NORMALIZE))
    scaling = read_bundle(bundle).preprocessing.scaling
    assert scaling is not None
    values = torch.tensor([-80.0, -50.0, 30.0, 150.0, 160.0]).reshape(1, 1, 1, 5)
    expected = (((values + 50) / 200).clamp(0, 1) - 0.5) / 0.25
    torch.testing.assert_close(Scaler(scaling, 1, torch.device("cpu")).scaled(values, None), expected)


@pytest.mark.parametrize(
    "last",
    [{"_target_": "HistogramNormalized"}, {"_target_": "AdjustContrastd"}],
)
def test_a_scaling_that_cannot_be_followed_after_a_fixed_one_is_not_passed_over(
    tmp_path: Path, network: UNet, last: dict[str, Any]
) -> None:
    bundle = make_bundle(tmp_path / "b", network, {"_target_": "UNet", **ARGUMENTS}, (SCALING, last))
    with pytest.raises(UsageError, match="--mean is needed"):
        import_model(ImportRequest(bundle, tmp_path / "package", ()))


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path: Path, network: UNet) -> None:
    with torch.no_grad():
        network.model[0].conv.weight[0] = float("nan")
    bundle = make_bundle(tmp_path / "b", network, {"_target_": "UNet", **ARGUMENTS})
    with pytest.raises(ModelError, match=r"NaN or infinity in network\.model\.0\.conv\.weight"):
        read_bundle(bundle)


def test_a_network_that_returns_a_list_answers_with_its_last(tmp_path: Path) -> None:
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "features": [4, 4, 4, 4, 4, 4]}
    network = BasicUNetPlusPlus(**arguments).eval()
    bundle = make_bundle(tmp_path / "b", network, {"_target_": "BasicUNetPlusPlus", **arguments})
    import_model(ImportRequest(bundle, tmp_path / "package", ("a", "b")))
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        found = load_network(tmp_path / "package", load_manifest(tmp_path / "package"))(image)
        assert torch.equal(found, network(image)[-1])
