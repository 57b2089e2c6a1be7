"""Transforms of MONAI bundles: followed as MONAI itself does them, and never passed over if they change values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai import transforms as of_monai
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from segment_tiles.pipeline.models.checkpoints.monai.preprocessing import Preprocessing, read_preprocessing
from segment_tiles.pipeline.models.checkpoints.monai.transforms import FOLLOWED, OF_EXTENT, OF_NO_VALUES
from segment_tiles.pipeline.models.scaling.scaler import Scaler

CPU = torch.device("cpu")
BOTH = ["image", "label"]
RANGE: dict[str, Any] = {
    "_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1,
}  # fmt: skip
OF_SCENE: dict[str, Any] = {"_target_": "NormalizeIntensityd", "keys": "image"}
CROP: dict[str, Any] = {"_target_": "CenterSpatialCropd", "keys": BOTH, "roi_size": [9, 11]}
PAD: dict[str, Any] = {"_target_": "SpatialPadd", "keys": BOTH, "spatial_size": [40, 40]}


def composed(*transforms: Any) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(transforms)}


def read(*transforms: Any) -> Preprocessing:
    return read_preprocessing({"preprocessing": composed(*transforms)})


@pytest.mark.parametrize(
    "transforms",
    [
        [{**RANGE, "_target_": "ScaleIntensityRangeD"}],
        [{**RANGE, "_target_": "monai.transforms.ScaleIntensityRangeDict", "clip": True}],
        [composed(composed(RANGE), {**OF_SCENE, "channel_wise": True}), {**OF_SCENE, "_disabled_": "True"}],
        [{**RANGE, "keys": BOTH}, {**OF_SCENE, "keys": "label"}, {"_target_": "ScaleIntensityd", "keys": ["label"]}],
        [
            {"_target_": "ScaleIntensityd", "keys": "image"},
            {"_target_": "AsDiscreted", "keys": "label", "threshold": 1},
        ],
        [
            {"_target_": "EnsureTyped", "keys": BOTH, "dtype": "$torch.float32"},
            {"_target_": "CastToTyped", "keys": "image", "dtype": ["$np.float64"]},
            {"_target_": "SqueezeDimd", "keys": "label"},
            {"_target_": "Identityd", "keys": "image"},
            OF_SCENE,
            {"_target_": "ToTensord", "keys": "image"},
        ],
        [RANGE, {**OF_SCENE, "subtrahend": 0.5, "divisor": 0.25}, {"_target_": "ToNumpyd", "keys": "image"}],
        [{**OF_SCENE, "nonzero": True}, {**OF_SCENE, "channel_wise": True}],
        [RANGE, {**OF_SCENE, "nonzero": True, "channel_wise": True}],
        [{**OF_SCENE, "nonzero": True, "subtrahend": 90, "divisor": 40}, {**RANGE, "b_max": 2}],
    ],
    ids=["D", "Dict", "nested", "label", "label-only", "no-values", "numbers", "nonzero", "of-bands",
         "nonzero-numbers"],
)  # fmt: skip
def test_what_is_followed_is_what_monai_does(transforms: list[dict[str, Any]]) -> None:
    image = np.random.default_rng(1).gamma(2.0, 60.0, (2, 12, 13)).astype(np.float32)
    image[np.random.default_rng(2).random(image.shape) < 0.3] = 0
    parser = ConfigParser({"imports": ["$import torch", "$import numpy as np"], "it": composed(*transforms)})
    label = torch.from_numpy(image[:1] > 100).float()
    # a copy: MONAI writes into what it gets
    expected = parser.get_parsed_content("it")({"image": torch.from_numpy(image.copy()), "label": label})[
        "image"
    ]
    found = read(*transforms)
    assert found.known
    assert found.scaling is not None
    scaler = Scaler(found.scaling, 2, CPU)
    measured = scaler.measured(torch.from_numpy(image[None]), torch.ones(1, 12, 13, dtype=torch.bool))
    assert measured is not None
    seen = Scaler(measured, 2, CPU).scaled(torch.from_numpy(image[None]), None)[0]
    np.testing.assert_allclose(seen.numpy(), np.asarray(expected), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "other",
    [
        "@norm", "$@norm", None, {"keys": "image"},
        {"_target_": "TorchVisiond", "keys": "image", "name": "Normalize", "mean": [0.5], "std": [0.2]},
        {"_target_": "GaussianSmoothd", "keys": "image", "sigma": 2},
        {"_target_": "ScaleIntensityFixedMeanD", "keys": "image"},
        {"_target_": "HistogramNormalizeDict", "keys": BOTH},
        {"_target_": "OneOf", "transforms": [OF_SCENE]},
        {"_target_": "Compose", "transforms": "@others"},
        {"_target_": "Compose", "transforms": [composed("$@norm")]},
        {"_target_": "scripts.own.NormalizeIntensityd", "keys": "image"},
        {"_target_": "scripts.own.Spacingd", "keys": "image"},
        {"_target_": "CastToTyped", "keys": "image", "dtype": "$np.uint8"},
        {"_target_": "EnsureTyped", "keys": "image", "dtype": "@dtype"},
        {"_target_": "LoadImaged", "keys": "image", "reader": "PILReader", "converter": "$lambda i: i.convert('L')"},
        {"_target_": "LoadImaged", "keys": "image", "reader": "$@reader"},
        {"_target_": "ConcatItemsd", "keys": ["t1", "t2"], "name": "image"},
        {"_target_": "CopyItemsd", "keys": "label", "names": ["image"]},
        {**OF_SCENE, "channel_wise": "$True"}, {**OF_SCENE, "channel_wise": "@x"}, {**OF_SCENE, "nonzero": "$False"},
        {**RANGE, "clip": "@clip"}, {**RANGE, "a_max": 10**400}, {**RANGE, "dtype": "$np.uint8"},
        {"_target_": "ScaleIntensityRangePercentilesd", "keys": "image", "lower": 1, "upper": 99, "b_min": 0,
         "b_max": 1, "relative": "@relative"},
        {**OF_SCENE, "keys": "@image_key"}, {**OF_SCENE, "_disabled_": "@is_off"}, {**OF_SCENE, "_mode_": "callable"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_first", [False, True])
def test_what_is_not_known_to_keep_values_leaves_the_scaling_unknown(other: Any, *, is_first: bool) -> None:
    found = read(other, RANGE) if is_first else read(RANGE, other)
    assert not found.known
    assert found.scaling is None


@pytest.mark.parametrize("extent", [CROP, PAD])
def test_statistics_of_what_was_cut_or_padded_are_not_those_of_the_scene(extent: dict[str, Any]) -> None:
    assert read(extent, OF_SCENE).scaling is None
    assert read(OF_SCENE, extent).scaling == read(OF_SCENE).scaling is not None
    assert read(extent, RANGE).scaling == read(RANGE).scaling is not None


def test_the_image_may_have_another_name_if_it_is_the_only_one() -> None:
    other = {**RANGE, "keys": ["img"]}
    assert read(other).scaling == read(RANGE).scaling is not None
    assert read(other, {**OF_SCENE, "keys": "seg"}).scaling is None, "either may be what the network sees"
    assert read({**RANGE, "keys": "label"}).scaling is None


@pytest.mark.parametrize("name", ["Spacingd", "SpacingD", "SpacingDict", "monai.transforms.Spacingd"])
def test_pixel_size_is_that_of_the_image(name: str) -> None:
    steps = {"_target_": name, "keys": BOTH, "pixdim": [0.5, 0.5, 2]}
    of_label = {**steps, "keys": "label", "pixdim": [3, 3, 3]}
    found = read(composed(steps), RANGE, of_label)
    assert (found.pixel_size, found.known) == (0.5, True)


def test_scalings_that_float32_cannot_hold_together_are_unknown() -> None:
    tiny = {**OF_SCENE, "subtrahend": 0, "divisor": 1e-30}
    assert read(tiny, tiny).scaling is None


def test_the_lists_name_classes_of_monai() -> None:
    former = {"AddChannel", "AsChannelFirst"}
    for name in (FOLLOWED | OF_EXTENT | OF_NO_VALUES) - former:
        for end in ("d", "D", "Dict"):
            assert hasattr(of_monai, name + end), name + end


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("AsChannelLast", {}), ("CastToType", {}), ("DataStats", {}), ("Identity", {}), ("EnsureType", {}),
        ("EnsureChannelFirst", {"channel_dim": "no_channel"}), ("FromMetaTensor", {}),
        ("Orientation", {"axcodes": "LP"}),
        ("ResampleToMatch", {"key_dst": "label"}), ("Resize", {"spatial_size": [12, 13]}),
        ("Spacing", {"pixdim": [1, 1]}),
        ("SqueezeDim", {}), ("ToMetaTensor", {}), ("ToNumpy", {}), ("ToTensor", {}),
        ("BorderPad", {"spatial_border": 2}), ("CenterScaleCrop", {"roi_scale": 0.5}), ("DivisiblePad", {"k": 8}),
        ("CenterSpatialCrop", {"roi_size": [5, 6]}), ("CropForeground", {"source_key": "label"}),
        ("ResizeWithPadOrCrop", {"spatial_size": [20, 5]}), ("SpatialCrop", {"roi_start": [1, 2], "roi_end": [6, 7]}),
        ("SpatialPad", {"spatial_size": [20, 30]}),
    ],
)  # fmt: skip
def test_monai_itself_keeps_the_values(name: str, settings: dict[str, Any]) -> None:
    image = np.random.default_rng(2).normal(5, 9, (1, 12, 13)).astype(np.float32)
    items = {"image": MetaTensor(torch.from_numpy(image)), "label": MetaTensor(torch.from_numpy(image))}
    found = np.asarray(getattr(of_monai, name + "d")(keys="image", **settings)(items)["image"])
    if name in OF_NO_VALUES:
        np.testing.assert_allclose(np.sort(found, axis=None), np.sort(image, axis=None), rtol=1e-5)
    else:
        assert set(found[found != 0]) <= set(image.ravel())
        assert read({"_target_": name + "D", "keys": "image", **settings}, RANGE).known
