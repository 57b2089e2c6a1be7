"""What the network sees, against NumPy and MONAI: every operation, statistics, invalid pixels, constant bands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import (
    ClipIntensityPercentiles,
    NormalizeIntensity,
    ScaleIntensity,
    ScaleIntensityRange,
    ScaleIntensityRangePercentiles,
)
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.checkpoints.monai.preprocessing import read_preprocessing
from segment_tiles.pipeline.models.scaling.mlm import (
    record_of,
    scaling_json,
    scaling_of_json,
    scaling_of_record,
)
from segment_tiles.pipeline.models.scaling.scaler import Scaler
from segment_tiles.pipeline.models.scaling.scaling import Scaling, z_score
from segment_tiles.pipeline.models.scaling.text import parse_scaling

CPU = torch.device("cpu")
F32 = np.float32


def tiles(dtype: str = "uint16", bands: int = 3, batch: int = 2) -> NDArray[Any]:
    values = np.random.default_rng(3).gamma(2.0, 900.0, (batch, bands, 20, 23))
    return (values if dtype.startswith("float") else np.rint(values)).astype(dtype)


def holes(batch: int = 2) -> NDArray[np.bool_]:
    valid = np.random.default_rng(4).random((batch, 20, 23)) > 0.3
    valid[0, :5] = False
    return valid


def seen(
    scaling: Scaling, values: NDArray[Any], valid: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    mask = None if valid is None else torch.from_numpy(valid)
    scaler = Scaler(scaling, values.shape[1], CPU)
    before = values.copy()
    found = scaler.scaled(torch.from_numpy(values), mask)
    assert np.array_equal(values, before, equal_nan=True), "the values themselves stay as they are"
    assert found.dtype == torch.float32
    return found.numpy()


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("min-max:100,3000", lambda x: (x - F32(100)) / F32(2900)),
        ("clip:0,3000+scale:3000", lambda x: np.clip(x, 0, 3000) / F32(3000)),
        ("clip-min:200+offset:1000", lambda x: np.maximum(x, F32(200)) - F32(1000)),
        ("clip-max:900+scale:0.5", lambda x: np.minimum(x, F32(900)) / F32(0.5)),
        ("clip:10,20+z-score:15,4", lambda x: (np.clip(x, 10, 20) - F32(15)) / F32(4)),
        ("none", lambda x: x),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_fixed_operations_are_those_of_mlm_in_their_order(text: str, reference: Any, dtype: str) -> None:
    values = tiles("float32").astype(dtype)
    assert np.array_equal(seen(parse_scaling(text), values), reference(values.astype(np.float32)))


def test_every_band_has_a_chain_of_its_own() -> None:
    entries = [
        {"type": "min-max", "minimum": 0, "maximum": 255},
        {"type": None},
        {"type": "processing", "format": "gdal-calc", "expression": "numpy.minimum(A * 0.5 - 3, 7)"},
    ]
    values = tiles().astype(np.float32)
    expected = np.stack(
        [values[:, 0] / F32(255), values[:, 1], np.minimum(values[:, 2] / F32(2) - 3, 7)], axis=1
    )
    assert np.array_equal(seen(scaling_of_json(entries), tiles()), expected)


def of_valid(
    values: NDArray[Any], valid: NDArray[np.bool_], *, together: bool
) -> list[list[NDArray[np.float64]]]:
    """Of every tile and band the valid values, as float64; of all bands if they are measured together."""
    found = []
    for tile, mask in zip(values.astype(np.float64), valid, strict=True):
        bands = [band[mask] for band in tile]
        found.append([np.concatenate(bands)] * len(bands) if together else bands)
    return found


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("kind", ["z-score:tile", "min-max:tile", "min-max:tile:2,98", "clip:tile:5,90"])
def test_statistics_of_tiles_are_those_of_numpy_over_valid_pixels(
    kind: str, dtype: str, together: bool
) -> None:
    values, valid = tiles("float32").astype(dtype), holes()
    found = seen(parse_scaling(kind + (":all" if together else "")), values, valid)
    for number, bands in enumerate(of_valid(values, valid, together=together)):
        mask = valid[number]
        for band, counted in enumerate(bands):
            x = values[number, band].astype(np.float32)
            match kind.split(":"):
                case ["z-score", _]:
                    expected = (x - F32(counted.mean())) / F32(counted.std())
                case ["min-max", _]:
                    expected = (x - F32(counted.min())) / F32(counted.max() - counted.min())
                case [name, _, percentiles]:
                    low, high = np.percentile(counted, [float(p) for p in percentiles.split(",")])
                    expected = (
                        np.clip(x, F32(low), F32(high))
                        if name == "clip"
                        else (x - F32(low)) / F32(high - low)
                    )
            np.testing.assert_allclose(found[number, band][mask], expected[mask], rtol=3e-7, atol=3e-7)
            if kind == "z-score:tile" and dtype != "float32":
                assert np.array_equal(found[number, band][mask], expected[mask])


@pytest.mark.parametrize(
    "text", ["z-score:tile", "min-max:tile:1,99", "clip:0,3000+z-score:tile:all", "scale:3000"]
)
def test_a_tile_does_not_depend_on_its_batch_nor_on_threads(text: str) -> None:
    values, valid = tiles("float32", batch=5) * F32(1.1), holes(5)
    valid[1] = True
    together = seen(parse_scaling(text), values, valid)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 3)
    try:
        for n in range(5):
            mask = None if valid[n].all() else valid[n : n + 1]
            assert np.array_equal(seen(parse_scaling(text), values[n : n + 1], mask)[0], together[n])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "text", ["z-score:tile", "min-max:tile", "min-max:tile:2,98", "clip:tile:2,98", "z-score:tile:all"]
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_band_of_one_value_and_a_tile_without_one_give_no_nan(text: str, dtype: str) -> None:
    values = np.full((2, 2, 16, 16), 7.3).astype(dtype)
    valid = np.ones((2, 16, 16), bool)
    valid[1] = False
    found = seen(parse_scaling(text), values, valid)
    assert np.isfinite(found).all()
    assert set(np.unique(found)) <= ({0.0, values[0, 0, 0, 0]} if text.startswith("clip") else {0.0})


@pytest.mark.parametrize(
    ("text", "fill"),
    [
        ("z-score:1800,900", 0.0),
        ("z-score:tile", 0.0),
        ("z-score:1800,900+clip:1,3", 1.0),  # 0 is carried on
        ("z-score:1800,900+scale:2+offset:-5", 5.0),
    ],
)
@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_invalid_pixels_are_shown_as_the_mean_of_the_z_score(text: str, fill: float, dtype: str) -> None:
    values, valid = tiles(dtype), holes()
    if dtype != "uint16":
        values[1, 2, 7, 7], values[1, 2, 8, 8] = np.nan, np.inf
    found = seen(parse_scaling(text), values, valid)
    assert (found[np.broadcast_to(~valid[:, None], found.shape)] == fill).all()
    assert np.isfinite(found).all()
    if dtype != "uint16":
        assert (found[1, 2, [7, 8], [7, 8]] == fill).all()


@pytest.mark.parametrize("text", ["min-max:0,3000", "clip:0,2000+scale:2000", "min-max:tile", "none"])
def test_without_a_z_score_invalid_pixels_are_the_mean_of_what_is_seen_of_the_tile(text: str) -> None:
    values, valid = tiles("float32"), holes()
    values[1, 0, 19, 22] = np.nan
    found = seen(parse_scaling(text), values, valid)
    for number, tile in enumerate(found):
        for band, scaled in enumerate(tile):
            counted = valid[number] & np.isfinite(values[number, band])
            np.testing.assert_allclose(scaled[~counted], scaled[counted].astype(np.float64).mean(), rtol=1e-6)


def test_a_fixed_z_score_computes_what_it_always_did() -> None:
    values, valid = tiles("float32"), holes()
    values[0, 0, 10, 10] = np.nan
    mean, std = np.array([1800.0, 20.5, 3.25]), np.array([900.0, 7.7, 0.3])
    shape = (1, 3, 1, 1)
    expected = (values - mean.astype(np.float32).reshape(shape)) * (1.0 / std).astype(np.float32).reshape(
        shape
    )
    expected = np.where(valid[:, None] & np.isfinite(values), expected, F32(0))
    assert np.array_equal(seen(z_score(tuple(mean), tuple(std)), values, valid), expected)


IMAGE = {"keys": "image"}


@pytest.mark.parametrize(
    ("transform", "options", "text"),
    [
        (ScaleIntensity, {}, "min-max of the scene, all bands together"),
        (ScaleIntensity, {"minv": -1, "maxv": 1, "channel_wise": True}, None),
        (NormalizeIntensity, {"channel_wise": True}, "z-score of the scene, band by band"),
        (NormalizeIntensity, {}, "z-score of the scene, all bands together"),
        (ScaleIntensityRange, {"a_min": 50, "a_max": 3000, "b_min": -1, "b_max": 1, "clip": True}, None),
        (ScaleIntensityRange, {"a_min": 50, "a_max": 3000, "b_min": 0, "b_max": 1}, "z-score 50, 2950"),
        (
            ScaleIntensityRangePercentiles,
            {"lower": 1, "upper": 97, "b_min": 0, "b_max": 2, "clip": True, "channel_wise": True},
            None,
        ),
        (
            ClipIntensityPercentiles,
            {"lower": 3, "upper": 95, "channel_wise": True},
            "clip at percentiles 3 and 95 of the scene, band by band",
        ),
    ],
)
def test_transforms_of_monai_are_followed(transform: Any, options: dict[str, Any], text: str | None) -> None:
    image = tiles("float32")[0]
    said = {"_target_": f"{transform.__name__}d", **IMAGE, **options}
    scaling = read_preprocessing({"preprocessing": {"transforms": [said]}}).scaling
    assert scaling is not None
    assert text is None or str(scaling) == text
    whole = torch.from_numpy(image)[None]
    measured = Scaler(scaling, 3, CPU).measured(whole, torch.ones(1, *image.shape[1:], dtype=torch.bool))
    assert measured is not None
    expected = np.asarray(transform(**options)(image.copy()))
    np.testing.assert_allclose(seen(measured, image[None])[0], expected, rtol=2e-6, atol=2e-6)


def test_statistics_of_a_scene_are_those_of_its_valid_pixels() -> None:
    values, valid = tiles("float64")[:1], holes()[:1]
    values[0, 1, 12, 3] = np.inf
    scaling = parse_scaling("clip:100,4000+z-score:scene")
    measured = Scaler(scaling, 3, CPU).measured(torch.from_numpy(values), torch.from_numpy(valid))
    assert measured is not None
    for band, chain in enumerate(measured.chains):
        kept = values[0, band][valid[0] & np.isfinite(values[0, band])]
        clipped = np.clip(kept.astype(np.float32), 100, 4000).astype(np.float64)
        assert chain[1].first == pytest.approx(clipped.mean(), rel=1e-6)
        assert chain[1].second == pytest.approx(clipped.std(), rel=1e-6)
    assert measured.declared(3) == scaling
    assert (
        Scaler(scaling, 3, CPU).measured(torch.from_numpy(values), torch.zeros(1, 20, 23, dtype=torch.bool))
        is None
    )


def test_physical_values_are_computed_in_float64_as_gdal_does() -> None:
    values = tiles("int16")
    scaling = Scaling(((),), "physical", ((1e-4, -0.1), (2e-4, 0.0), (1.0, 0.5)))
    units = np.array(scaling.units).reshape(3, 2, 1, 1)
    expected = (values.astype(np.float64) * units[:, 0] + units[:, 1]).astype(np.float32)
    assert np.array_equal(seen(scaling, values), expected)


@pytest.mark.parametrize("text", ["z-score:tile:nonzero", "z-score:tile:all:nonzero", "z-score:7,3:nonzero"])
def test_zeros_are_not_measured_and_stay_zeros(text: str) -> None:
    """Missing pixels are 0 too; a band of zeros stays as it is."""
    entry = {"type": "z-score", "mean": 7.0, "stddev": 3.0, "nonzero": True}
    own = {"type": "processing", "format": "segment-tiles", "expression": [entry]}
    scaling = parse_scaling(text) if "tile" in text else scaling_of_json([own])
    assert scaling_of_json(scaling_json(scaling)) == scaling == scaling_of_record(record_of(scaling))
    assert not scaling.is_fixed_z_score
    rng = np.random.default_rng(0)
    values = rng.integers(1, 90, (1, 3, 8, 9)).astype(np.float32)
    values[rng.random(values.shape) < 0.4] = 0
    values[0, 2] = 0
    valid = rng.random((1, 8, 9)) > 0.2
    seen = Scaler(scaling, 3, torch.device("cpu")).scaled(torch.from_numpy(values), torch.from_numpy(valid))
    for band, found in zip(values[0], seen[0].numpy(), strict=True):
        pool = values[0][:, valid[0]] if ":all" in text else band[valid[0]]
        pool = pool[pool != 0].astype(np.float64)
        mean, std = (pool.mean(), pool.std()) if pool.size and "tile" in text else (7, 3)
        expected = np.where((band != 0) & valid[0], (band - mean) / std, 0)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", ["min-max:tile:nonzero", "clip:tile:2,98:nonzero"])
def test_only_a_z_score_leaves_zeros_out(text: str) -> None:
    with pytest.raises(UsageError, match="cannot leave out what is 0: z-score can"):
        parse_scaling(text)
