"""Arrays and volumes by other scalings: as the same pixels in a file, lazily or not, one model or several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio
import rioxarray
import zarr
from numpy.typing import NDArray

import segment_tiles as st

pytestmark = pytest.mark.filterwarnings("ignore::segment_tiles.SegmentTilesWarning")
FIXED: dict[str, Any] = {"device": "cpu", "precision": "fp32", "backend": "torch", "batch": 2}
SCALING = "physical+min-max:scene+z-score:tile:all"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = np.random.default_rng(2).integers(0, 4000, (3, 90, 100)).astype(np.uint16)
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    with rasterio.open(path, "w", driver="GTiff", count=3, height=90, width=100, dtype="uint16", nodata=0,
                       crs="EPSG:32632", transform=rasterio.transform.from_origin(5e5, 5e6, 1, 1)) as file:  # fmt: skip
        file.write(values)
        file.scales, file.offsets = (1e-4,) * 3, (-0.1,) * 3
    return path


def codes(out: Path) -> NDArray[Any]:
    return np.asarray(zarr.open_group(out / "classes.zarr", mode="r")["classes"][:])


def test_arrays_give_the_codes_of_a_run(scene: Path, small_model: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {**FIXED, "model": str(small_model), "scaling": SCALING}
    st.segment(scene, out=tmp_path / "out", format="zarr", preview=False, **options)
    expected = codes(tmp_path / "out")
    assert len(np.unique(expected)) > 2
    with rioxarray.open_rasterio(scene) as image:
        assert np.array_equal(st.segment_array(image.load(), **options), expected)
    with rioxarray.open_rasterio(scene, chunks={"x": 64, "y": 64}) as lazy:
        assert np.array_equal(st.segment_array(lazy, **options).compute(), expected)


def test_an_ensemble_and_turns_scale_alike(scene: Path, small_model: Path, tmp_path: Path) -> None:
    with rasterio.open(scene) as file:
        pixels = file.read().astype(np.float32)
    options: dict[str, Any] = {**FIXED, "model": str(small_model), "tta": "flips"}
    of_tile = st.segment_array(pixels, scaling="z-score:tile", **options)
    # scaled once more, statistics of tiles stay what they are
    assert np.mean(of_tile == st.segment_array(pixels * 4 + 8, scaling="z-score:tile", **options)) > 0.999
    assert not np.array_equal(of_tile, st.segment_array(pixels * 4 + 8, **options))


def test_statistics_of_a_volume_are_those_of_its_slices(
    scan: Callable[..., NDArray[np.int16]], grey_model: Path, tmp_path: Path
) -> None:
    voxels = scan()
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    by_scene, by_numbers = tmp_path / "a", tmp_path / "b"
    options: dict[str, Any] = {**FIXED, "model": str(grey_model), "format": "zarr", "preview": False}
    result = st.segment(path, out=by_scene, scaling="z-score:scene", **options)
    (kept,) = result.report["settings"]["--scaling"]
    operation = kept["operations"][0][0]
    assert operation["mean"] == pytest.approx(voxels.mean(), rel=1e-6)
    assert operation["stddev"] == pytest.approx(voxels.std(), rel=1e-6)
    st.segment(path, out=by_numbers, scaling=f"z-score:{operation['mean']},{operation['stddev']}", **options)
    assert np.mean(codes(by_scene) == codes(by_numbers)) > 0.999  # one divides, the other multiplies
