"""`segment_array` of DataArrays: coordinates, CRS and nodata go in and out; lazy ones are computed by parts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import segment_tiles as st
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store

rioxarray = pytest.importorskip("rioxarray")
xarray = pytest.importorskip("xarray")

FIXED: dict[str, Any] = {"precision": "fp32", "device": "cpu", "backend": "torch"}


@pytest.fixture(scope="module")
def codes(run_folder: Path) -> Any:
    return np.asarray(array_of(open_store(run_folder / "classes.zarr"), "classes")[:])


def test_a_raster_as_a_data_array_gives_the_map_of_a_run(
    scene: Path, codes: Any, small_model: Path, tmp_path: Path
) -> None:
    with rioxarray.open_rasterio(scene) as image:
        made = st.segment_array(image, model=small_model, **FIXED)
        assert (made.values == codes).all()  # nodata 0 is declared by the file
        assert made.dims == ("y", "x")
        assert (made.x == image.x).all()
        assert (made.y == image.y).all()
        assert made.rio.crs.to_epsg() == 32612
        assert made.rio.transform() == image.rio.transform()
    assert made.rio.nodata == 255
    assert made.attrs["flag_values"].tolist() == [0, 1, 2]
    assert made.attrs["flag_values"].dtype == made.dtype
    assert made.attrs["flag_meanings"] == "other tree water"
    made.rio.to_raster(tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as written, rasterio.open(scene) as source:
        assert (written.read(1) == codes).all()
        assert written.transform == source.transform
        assert written.crs == source.crs
        assert written.nodata == 255


def test_a_lazy_one_stays_lazy_and_has_the_same_codes(scene: Path, codes: Any, small_model: Path) -> None:
    with rioxarray.open_rasterio(scene, chunks={"x": 400, "y": 333}) as image:
        made = st.segment_array(image, model=small_model, **FIXED)
        assert made.chunks is not None
        assert (made.compute().values == codes).all()


def test_a_masked_one_has_the_same_codes(scene: Path, codes: Any, small_model: Path) -> None:
    """rioxarray's ``masked=True`` makes floats of integers, and NaN of nodata."""
    with rioxarray.open_rasterio(scene, masked=True) as image:
        part = image.isel(y=slice(250, 400), x=slice(200, 350)).load()
    with pytest.warns(st.SegmentTilesWarning, match="the raster is float32"):
        made = st.segment_array(part, model=small_model, **FIXED)
    whole = st.segment_array(
        xarray.DataArray(part.fillna(0).astype("uint8").values, dims=("band", "y", "x")),
        model=small_model,
        nodata=0,
        **FIXED,
    )
    assert (made.values == whole.values).all()
    assert (made.values[:50, :60] == 255).all()


def test_bands_are_found_by_their_names_and_dimensions_by_theirs(small_model: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (3, 70, 80), dtype=np.uint8)
    plain = st.segment_array(values, model=small_model, **FIXED)
    turned = xarray.DataArray(
        values[::-1].transpose(1, 2, 0),
        dims=("latitude", "longitude", "channel"),
        coords={"channel": ["blue", "green", "red"]},
    )
    with pytest.warns(st.SegmentTilesWarning, match="bands 3,2,1 are read, as their names"):
        made = st.segment_array(turned, model=small_model, **FIXED)
    assert made.dims == ("latitude", "longitude")
    assert (made.values == plain).all()
    named = xarray.DataArray(values, dims=("band", "y", "x"), attrs={"long_name": ("red", "green", "blue")})
    assert (st.segment_array(named, model=small_model, **FIXED).values == plain).all()


def test_dimensions_that_cannot_be_understood_are_refused(small_model: Path) -> None:
    series = xarray.DataArray(np.zeros((2, 3, 8, 9), np.uint8), dims=("time", "band", "y", "x"))
    with pytest.raises(
        st.SourceError, match=r"dimensions time, band, y, x; .* such as image\.isel\(time=0\)"
    ):
        st.segment_array(series, model=small_model)
    unknown = xarray.DataArray(np.zeros((3, 8, 9), np.uint8), dims=("band", "up", "across"))
    with pytest.raises(st.SourceError, match=r"dimensions band, up, across; .*image\.rio\.set_spatial_dims"):
        st.segment_array(unknown, model=small_model)
    lazy = xarray.DataArray(np.zeros((3, 8, 9), np.uint8), dims=("band", "y", "x")).chunk()
    with pytest.raises(st.UsageError, match=r"dask\.diagnostics\.ProgressBar"):
        st.segment_array(lazy, model=small_model, progress=print)


@pytest.mark.parametrize("metres", [1.1, 1.4])
def test_one_whose_pixels_are_unlike_those_of_the_model_is_not_resampled_and_says_so(
    small_model: Path, tmp_path: Path, metres: float
) -> None:
    """A file of such pixels is resampled."""
    folder = tmp_path / "metre"
    shutil.copytree(small_model, folder)
    document = json.loads((folder / "model.json").read_text())
    document["properties"]["segment_tiles:pixel_size"] = {"value": 1.0, "unit": "m"}
    (folder / "model.json").write_text(json.dumps(document))
    values = np.random.default_rng(0).integers(1, 255, (3, 64, 64), dtype=np.uint8)
    image = xarray.DataArray(values, dims=("band", "y", "x")).rio.write_crs("EPSG:32633")
    image = image.rio.write_transform(rasterio.Affine(metres, 0, 5e5, 0, -metres, 5e6))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", st.SegmentTilesWarning)
        st.segment_array(image, model=folder, **FIXED)
    texts = [str(each.message) for each in said if "not resampled" in str(each.message)]
    assert len(texts) == (metres > 1.25)
    assert all("pixels are 1.4 m, but model" in text and "trained at 1 m" in text for text in texts)


def test_xarray_that_is_not_installed_is_named(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rioxarray", None)  # as Python has what cannot be imported
    image = xarray.DataArray(np.zeros((3, 8, 9), np.uint8), dims=("band", "y", "x"))
    with pytest.raises(st.MissingExtraError, match=r"pip install 'segment-tiles\[xarray\]'"):
        st.segment_array(image, model=small_model)


PEAK = """
import resource, sys
import dask, dask.array, numpy
import segment_tiles as st
from segment_tiles.workflows.face.arrays import lazy

lazy.LARGEST_REGION = 1  # so that both heights have more Regions than threads

def pixels(block_info=None):
    rows, columns = block_info[None]["array-location"][1:]
    block = numpy.zeros((3, rows[1] - rows[0], columns[1] - columns[0]), numpy.float32)
    if columns[0] == 0:
        block[:, :64, :64] = 9  # something to compute in some tiles; the others are skipped
    return block

def image(height):
    return dask.array.map_blocks(pixels, chunks=(3, (512,) * (height // 512), (512,) * 4), dtype=numpy.float32)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

fixed = dict(model=sys.argv[1], precision="fp32", device="cpu", backend="torch", nodata=0)
dask.config.set(scheduler="threads", num_workers=2)
found = []
for height in (2048, 16384):
    classes = st.segment_array(image(height), **fixed)
    # counted piece by piece, so that the map itself is not held
    counts = dask.array.stack([(classes == code).sum() for code in range(3)]).compute()
    found.append(peak())
    assert counts.sum() > 0
print(found[1] - found[0])
"""


@pytest.mark.filterwarnings("ignore")
def test_memory_does_not_grow_with_the_height_of_a_lazy_image(small_model: Path) -> None:
    """Eight times the height are 350 MB more of pixels; a sixth of that may come and go."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PEAK, str(small_model)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 60e6
