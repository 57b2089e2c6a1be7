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


def test_two_bands_of_one_name_are_refused_and_names_that_say_another_order_are_told(
    small_model: Path,
) -> None:
    values = np.random.default_rng(0).integers(0, 255, (4, 70, 80), dtype=np.uint8)
    twice = xarray.DataArray(
        values, dims=("band", "y", "x"), attrs={"long_name": ("blue", "Red", "green", "red")}
    )
    with pytest.raises(st.UsageError, match=r"bands 2 and 4 are both called 'red'; choose with --bands"):
        st.segment_array(twice, model=small_model, **FIXED)
    partly = xarray.DataArray(values[:3], dims=("band", "y", "x"), attrs={"long_name": ("blue", "green", "")})
    with pytest.warns(
        st.SegmentTilesWarning, match=r"read in their order, blue, green, \(none\), as red, green, blue"
    ):
        made = st.segment_array(partly, model=small_model, **FIXED)
    assert (made.values == st.segment_array(values[:3], model=small_model, **FIXED)).all()
    for names in (("red", "", ""), ("a", "b", "c")):  # no name says another order
        same = xarray.DataArray(values[:3], dims=("band", "y", "x"), attrs={"long_name": names})
        with warnings.catch_warnings():
            warnings.simplefilter("error", st.SegmentTilesWarning)
            st.segment_array(same, model=small_model, **FIXED)


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


@pytest.fixture(scope="module")
def metre_model(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but trained at pixels of a metre."""
    folder = tmp_path_factory.mktemp("models") / "metre"
    shutil.copytree(small_model, folder)
    document = json.loads((folder / "model.json").read_text())
    document["properties"]["segment_tiles:pixel_size"] = {"value": 1.0, "unit": "m"}
    (folder / "model.json").write_text(json.dumps(document))
    return folder


def made_scene(path: Path, pixel: tuple[float, float], side: tuple[int, int], nodata: int | None) -> Path:
    """Write smooth noise with holes, of pixels so high and wide."""
    rng = np.random.default_rng(0)
    values = (
        rng.integers(1, 200, (3, -(-side[0] // 8), -(-side[1] // 8)), dtype=np.uint8)
        .repeat(8, 1)
        .repeat(8, 2)
    )
    values = values[:, : side[0], : side[1]] + rng.integers(0, 50, (3, *side), dtype=np.uint8)
    values[:, 30:60, 20:90] = 0
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=side[0], width=side[1], dtype="uint8", crs="EPSG:32633",
        nodata=nodata, transform=rasterio.Affine(pixel[1], 0, 5e5, 0, -pixel[0], 5e6),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


@pytest.mark.parametrize(
    ("pixel", "side", "options", "nodata"),
    [
        ((0.4, 0.6), (203, 181), {}, 0),
        ((2.0, 2.0), (91, 70), {"overlap": 0.25}, None),
        ((0.4, 0.4), (91, 70), {"resolution": "native"}, 0),
    ],
)
def test_one_whose_pixels_are_unlike_those_of_the_model_has_the_codes_of_its_file(
    metre_model: Path,
    tmp_path: Path,
    pixel: tuple[float, float],
    side: tuple[int, int],
    options: Any,
    nodata: Any,
) -> None:
    """Resampled for the model, on its own pixels again: in memory, lazy and masked."""
    path = made_scene(tmp_path / "a.tif", pixel, side, nodata)
    with warnings.catch_warnings(record=True) as said_of_file:
        warnings.simplefilter("always", st.SegmentTilesWarning)
        result = st.segment(
            path,
            model=metre_model,
            out=tmp_path / "out",
            format="zarr",
            preview=False,
            tile=64,
            **FIXED,
            **options,
        )
    expected = np.asarray(result.classes)
    said = {str(each.message) for each in said_of_file if "pixels are" in str(each.message)}
    for chunks in (None, {"x": 50, "y": 77}):
        with (
            rioxarray.open_rasterio(path, chunks=chunks) as image,
            warnings.catch_warnings(record=True) as heard,
        ):
            warnings.simplefilter("always", st.SegmentTilesWarning)
            made = st.segment_array(image, model=metre_model, tile=64, **FIXED, **options)
            np.testing.assert_array_equal(made.values, expected)
            assert made.rio.transform() == image.rio.transform()
        assert {str(each.message) for each in heard if "pixels are" in str(each.message)} == said
    assert (expected == 255).any() == (nodata == 0)


def test_a_resampled_one_of_several_regions_has_the_same_codes(
    metre_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segment_tiles.workflows.face.arrays import lazy  # noqa: PLC0415

    monkeypatch.setattr(lazy, "CHUNK", 50)
    monkeypatch.setattr(lazy, "LARGEST_REGION", 1)
    for pixel, side in ((0.4, (130, 97)), (1.7, (130, 60))):
        path = made_scene(tmp_path / f"{pixel}.tif", (pixel, pixel), side, 0)
        with rioxarray.open_rasterio(path) as image:
            options = {"model": metre_model, "tile": 32, **FIXED}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", st.SegmentTilesWarning)
                whole = st.segment_array(image, **options)
                parts = st.segment_array(image.chunk({"x": 33, "y": 50}), **options)
            assert parts.data.numblocks == (3, 2)
            np.testing.assert_array_equal(parts.values, whole.values)


def test_a_size_on_the_ground_that_an_array_does_not_have_is_refused(small_model: Path) -> None:
    bare = np.zeros((3, 8, 9), np.uint8)
    with pytest.raises(
        st.UsageError, match=r"--resolution is 2, but the pixels of .* have no size in metres"
    ):
        st.segment_array(bare, model=small_model, resolution=2, **FIXED)


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


@pytest.mark.slow
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
