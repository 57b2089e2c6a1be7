"""g-ratio of axons beside the procedure of AxonDeepSeg: a watershed from the centroids of axons, on published masks."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from scipy.ndimage import distance_transform_edt
from skimage.measure import label, regionprops
from skimage.segmentation import watershed

from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons.polygonize import polygonize

MYELIN, AXON = 1, 2
REACH = 30


def by_watershed(codes: np.ndarray) -> pd.DataFrame:
    """Return pixels, diameter in pixels and g-ratio of each axon, in the order of first pixels."""
    regions = regionprops(label(codes == AXON, connectivity=1))
    middles = [tuple(int(place) for place in region.centroid) for region in regions]
    markers = np.zeros(codes.shape, dtype=np.int32)
    for number, middle in enumerate(middles, 1):
        markers[middle] = number
    fibres = watershed(-distance_transform_edt(codes == AXON), markers, mask=codes > 0)
    sizes = np.bincount(fibres.ravel())
    # a middle in the background belongs to no fibre
    whole = [sizes[fibres[middle]] if fibres[middle] else np.nan for middle in middles]
    table = pd.DataFrame({"pixels": [region.area for region in regions], "whole": whole})
    table["diameter"] = 2 * np.sqrt(table["pixels"] / np.pi)
    table["g_ratio"] = table["diameter"] / (2 * np.sqrt(table["whole"] / np.pi))
    return table


@pytest.mark.shared
def test_g_ratios_are_near_those_of_axondeepseg(shared_data: Path, tmp_path: Path) -> None:
    masks = shared_data / "axon" / "labels" / "rat6_data15.png"
    rule = ObjectRule(str(AXON), reach=REACH, sheath=str(MYELIN))
    out = tmp_path / "fibres.objects.parquet"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        polygonize(masks, [out], PolygonizeOptions(objects=(rule,)))
        with rasterio.open(masks) as dataset:
            codes = dataset.read(1)
    ours = pd.read_parquet(out).sort_values("object")
    theirs = by_watershed(codes)
    np.testing.assert_array_equal(ours["pixels"], theirs["pixels"])
    np.testing.assert_allclose(ours["axon_diameter_px"], theirs["diameter"])
    off = np.abs(ours["g_ratio"].to_numpy() - theirs["g_ratio"].to_numpy())
    # the watershed goes step by step along rows and columns, so common myelin is divided elsewhere
    assert np.nanmedian(off) < 0.02
    assert np.nanpercentile(off, 90) < 0.1
    assert ours["g_ratio"].median() == pytest.approx(theirs["g_ratio"].median(), abs=0.03)
