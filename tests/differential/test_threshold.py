"""The network that the other tests of this folder measure by does what they take for granted."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio


@pytest.mark.parametrize(
    ("bands", "threshold", "dtype"),
    [(1, 100.5, "uint8"), (3, (10.5, 100.5, 200.5), "uint8"), (2, 30000.5, "uint16"), (1, 0.25, "float32")],
)
def test_every_pixel_has_the_class_of_its_values(
    tmp_path, threshold_model, expected_classes, thresholded, bands, threshold, dtype
):
    rng = np.random.default_rng(3)
    shape = (bands, 71, 90)
    values = (
        rng.random(shape) if dtype == "float32" else rng.integers(0, np.iinfo(dtype).max, shape)
    ).astype(dtype)
    path = tmp_path / "plain.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=71, width=90, dtype=dtype, crs="EPSG:32633",
        transform=rasterio.Affine(2, 0, 500000, 0, -2, 4000000),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    classes, report, _ = thresholded(path, threshold_model(bands, threshold, dtype))
    expected = expected_classes(values, threshold=threshold)
    assert np.array_equal(classes, expected)
    assert len(np.unique(expected)) == 2**bands
    assert report["failures"] == []
