"""Slides, OME-TIFF, OME-Zarr and plain Zarr: the pixels that were written, whatever window, level and plane."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from segment_tiles.pipeline.errors import ReadFailedError, SegmentTilesError, SourceError, UsageError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.kinds import kind_of
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source, notes_of
from segment_tiles.pipeline.sources.pyramids.pyramid_source import PyramidSource
from segment_tiles.pipeline.sources.view import View

READERS = ("slide", "ome-tiff", "ome-zarr-0.5", "ome-zarr-0.4")
KINDS = {"slide": "slide", "ome-tiff": "ome-tiff", "ome-zarr-0.5": "zarr", "ome-zarr-0.4": "zarr"}
WriteAs = Callable[..., Path]
_OPEN: list[Source] = []


def opened(uri: str, **options: Any) -> Source:
    """Open a source that is closed when the test ends."""
    source = open_source(uri, **options)
    _OPEN.append(source)
    return source


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.pop().close()


def picture(height: int = 211, width: int = 167, bands: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 255, (bands, height, width), dtype=np.uint8)


def test_further_images_of_an_ome_zarr_are_told_of(write_as: WriteAs, tmp_path: Path) -> None:
    path = tmp_path / "image.zarr"
    shutil.copytree(write_as("ome-zarr-0.5", picture(), 0.25, 4), path)
    group = zarr.open_group(path, mode="r+")
    own = dict(group.attrs["ome"])  # type: ignore[arg-type]
    group.attrs["ome"] = {**own, "multiscales": [*own["multiscales"], own["multiscales"][0]]}
    (note,) = notes_of(opened(str(path)))
    assert "1 further image (multiscales); the first one is read" in note
    assert notes_of(opened(str(write_as("ome-zarr-0.5", picture(), 0.25, 4)))) == ()


@pytest.mark.parametrize("reader", READERS)
def test_the_pixels_are_those_that_were_written(reader: str, write_as: WriteAs) -> None:
    values = picture()
    path = write_as(reader, values, 0.25, 4)
    assert kind_of(str(path)) == KINDS[reader]
    source = opened(str(path))
    assert isinstance(source, PyramidSource)
    spec = source.spec
    assert (spec.bands, spec.height, spec.width, spec.dtype) == (3, 211, 167, "uint8")
    assert spec.levels == ((211, 167), (53, 42))
    assert (spec.georef.unit, spec.georef.crs_wkt) == ("micrometer", None)
    assert spec.georef.transform == pytest.approx((0.25, 0, 0, 0, -0.25, 0))
    window = Window(13, 60, 190, 107)
    rows, columns = window.slices()
    read = source.read(window)
    np.testing.assert_array_equal(read, values[:, rows, columns])
    assert source.valid(window, read) is None


@pytest.mark.parametrize("reader", READERS)
def test_a_level_has_larger_pixels_at_the_same_place(reader: str, write_as: WriteAs) -> None:
    values = picture()
    source = opened(str(write_as(reader, values, 0.25, 4)), level=1, bands=(3, 1))
    np.testing.assert_array_equal(source.read(source.spec.window), values[[2, 0], ::4, ::4])
    assert source.spec.georef.transform == pytest.approx((1, 0, 0, 0, -1, 0))
    assert source.spec.georef.full_resolution == pytest.approx((0.25, 0, 0, 0, -0.25, 0))
    with pytest.raises(SourceError, match=r"has no level 2, only 0 to 1"):
        opened(str(write_as(reader, values, 0.25, 4)), level=2)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("mpp", [0.25, 0.31, 0.6, 1.0, 2.3])
def test_at_any_mpp_a_window_is_the_crop_of_the_whole(reader: str, mpp: float, write_as: WriteAs) -> None:
    source = opened(str(write_as(reader, picture(), 0.25, 4)), view=View(mpp=mpp))
    assert isinstance(source, PyramidSource)
    assert source.level == (1 if mpp >= 1 else 0), "the next finer level"
    height, width = source.spec.window.shape
    assert (height, width) == (
        (53, 42)
        if mpp == 1.0
        else (pytest.approx(211 * 0.25 / mpp, abs=1), pytest.approx(167 * 0.25 / mpp, abs=1))
    )
    assert source.spec.georef.pixel_area == pytest.approx(mpp**2)
    whole = source.read(source.spec.window)
    rng = np.random.default_rng(0)
    for _ in range(12):
        top, left = int(rng.integers(height)), int(rng.integers(width))
        window = Window.from_edges(
            top, left, int(rng.integers(top, height)) + 1, int(rng.integers(left, width)) + 1
        )
        rows, columns = window.slices()
        np.testing.assert_array_equal(source.read(window), whole[:, rows, columns])


def test_a_level_within_one_percent_is_not_resampled(write_as: WriteAs) -> None:
    path = str(write_as("slide", picture(), 0.2475, 4))
    source = opened(path, view=View(mpp=0.2491))
    assert source.spec.window.shape == (211, 167)
    assert source.spec.georef.transform[0] == pytest.approx(0.2475), "the truth, not what was asked for"


def test_the_slides_own_mpp_is_overridden(write_as: WriteAs) -> None:
    path = str(write_as("slide", picture(), 0.5))
    source = opened(path, view=View(mpp=1.0, source_mpp=0.25))
    assert source.spec.window.shape == (53, 42)
    assert source.spec.georef.full_resolution == (0.25, 0, 0, 0, -0.25, 0)


def test_a_picture_gets_the_mpp_that_the_user_gives(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    values = picture(64, 80)
    Image.fromarray(np.ascontiguousarray(values.transpose(1, 2, 0))).save(path)
    assert opened(str(path)).spec.georef.unit == "pixel"
    source = opened(str(path), view=View(source_mpp=0.5))
    assert source.spec.georef.transform == (0.5, 0, 0, 0, -0.5, 0)
    np.testing.assert_array_equal(source.read(source.spec.window), values)
    assert opened(str(path), view=View(mpp=1.0, source_mpp=0.5)).spec.window.shape == (32, 40)


@pytest.mark.parametrize("reader", READERS)
def test_a_thumbnail_shows_the_whole(reader: str, write_as: WriteAs) -> None:
    values = np.zeros((3, 200, 160), dtype=np.uint8)
    values[:, :100, :80], values[:, 100:, 80:] = 90, 200
    source = opened(str(write_as(reader, values, 0.25, 4)))
    small, valid = source.thumbnail(source.spec.window, (20, 16))
    assert valid is None
    np.testing.assert_array_equal(small[:, :10, :8], 90)
    np.testing.assert_array_equal(small[:, 10:, 8:], 200)
    np.testing.assert_array_equal(small[:, :10, 8:], 0)
    part, _ = source.thumbnail(Window(100, 80, 40, 40), (40, 40))
    np.testing.assert_array_equal(part, 200)


@given(st.data())
@settings(max_examples=15)
def test_a_level_with_a_broken_downsample_has_no_seams(tmp_path_factory: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "broken-downsample.tif"
    values = picture(2000, 1700)
    if not path.exists():
        levels = [values, picture(563, 479)]  # 3.55: OpenSlide interpolates, differently for every place
        with tifffile.TiffWriter(path) as file:
            for i, level in enumerate(levels):
                file.write(
                    np.ascontiguousarray(level.transpose(1, 2, 0)), tile=(256, 256), photometric="rgb",
                    compression="deflate", subfiletype=1 if i else 0, metadata=None,
                    resolution=(2e4 * level.shape[1] / 2000,) * 2, resolutionunit="CENTIMETER",
                )  # fmt: skip
    source = opened(str(path), level=1)
    whole = source.read(source.spec.window)
    height, width = source.spec.window.shape
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window.from_edges(
        top, left, data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    )
    rows, columns = window.slices()
    np.testing.assert_array_equal(source.read(window), whole[:, rows, columns])


def test_an_aperio_slide_is_known_by_its_vendor(tmp_path: Path) -> None:
    values = np.ascontiguousarray(picture(300, 280).transpose(1, 2, 0))
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(
            values, tile=(256, 256), photometric="rgb", compression="jpeg", metadata=None,
            description="Aperio Image Library v12.0.15\n280x300 [0,0 280x300] (256x256)|AppMag = 20|MPP = 0.499",
        )  # fmt: skip
    source = opened(str(path))
    assert isinstance(source, PyramidSource)
    assert source.details["vendor"] == "aperio"
    assert source.details["objective_power"] == "20"
    assert source.native_mpp == (0.499, 0.499)
    assert source.details["mpp"] == [0.499, 0.499]


def test_a_geotiff_and_a_photo_stay_rasters(tmp_path: Path, write_as: WriteAs) -> None:
    values = picture(300, 280)
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": 280, "height": 300, "count": 3, "dtype": "uint8", "tiled": True,
        "blockxsize": 256, "blockysize": 256,
    }  # fmt: skip
    placed = tmp_path / "geo.tif"
    with rasterio.open(
        placed, "w", crs="EPSG:32633", transform=rasterio.Affine(1, 0, 9, 0, -1, 9), **profile
    ) as d:
        d.write(values)
        d.update_tags(TIFFTAG_XRESOLUTION="20000", TIFFTAG_YRESOLUTION="20000", TIFFTAG_RESOLUTIONUNIT="3")
    assert kind_of(str(placed)) == "raster"
    assert kind_of(str(write_as("slide", values, None))) == "raster", "no size of a pixel"
    assert kind_of(str(write_as("slide", values, 84.7))) == "raster", "300 dots per inch"
    assert kind_of(str(write_as("slide", values, 2.0))) == "slide"


def stack(path: Path, version: int = 3) -> Path:
    """OME-Zarr with 2 time points, 2 channels, 3 planes, in nanometres, and its corner not at 0."""
    values = np.random.default_rng(0).integers(0, 4000, (2, 2, 3, 50, 40), dtype=np.uint16)
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.create_array("full", shape=values.shape, dtype="uint16", chunks=(1, 1, 2, 16, 32))[:] = values
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    places = [
        {"type": "scale", "scale": [1, 1, 900, 250, 500]},
        {"type": "translation", "translation": [0, 0, 0, 1000, 3000]},
    ]
    ome = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [{"path": "full", "coordinateTransformations": places}]}],
        "omero": {"channels": [{"label": "DAPI"}, {"label": "CD3"}]},
    }
    group.attrs["ome"] = ome
    return path


def test_channel_plane_and_time_point_are_chosen(tmp_path: Path) -> None:
    path = stack(tmp_path / "stack.zarr")
    values = zarr.open_array(path / "full", mode="r")[:]
    source = opened(str(path), bands=(2,), view=View(z=2, t=1))
    np.testing.assert_array_equal(source.read(Window(7, 5, 30, 33)), values[1, 1:, 2, 7:37, 5:38])
    assert source.spec.band_names == ("CD3",)
    assert source.spec.georef.transform == pytest.approx((0.5, 0, 3.0, 0, -0.25, -1.0))
    assert isinstance(source, PyramidSource)
    assert {key: source.details[key] for key in ("axes", "channels", "planes_z", "time_points")} == {
        "axes": "tczyx", "channels": 2, "planes_z": 3, "time_points": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("view", "kind", "words"),
    [
        (View(t=0), SourceError, "has 3 planes; choose one with --z, 0 to 2"),
        (View(z=0), SourceError, "has 2 time points; choose one with --t, 0 to 1"),
        (View(z=3, t=0), UsageError, "--z is 3, but .* has 3 planes, 0 to 2"),
        (View(z=0, t=2), UsageError, "--t is 2, but .* has 2 time points, 0 to 1"),
    ],
)
def test_a_plane_that_is_not_there_is_refused(tmp_path: Path, view: View, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        opened(str(stack(tmp_path / "s.zarr")), view=view)


def test_one_plane_has_no_second(write_as: WriteAs) -> None:
    with pytest.raises(UsageError, match=r"--z is 1, but .* has one plane only"):
        opened(str(write_as("slide", picture(), 0.5)), view=View(z=1))


@pytest.mark.parametrize(
    ("shape", "names", "bands", "size"),
    [
        ((50, 40), None, 1, (50, 40)),
        ((4, 50, 40), None, 4, (50, 40)),
        ((50, 40, 3), None, 3, (50, 40)),
        ((50, 40, 7), ("y", "x", "c"), 7, (50, 40)),
        ((1, 2, 1, 50, 40), None, 2, (50, 40)),
    ],
)
def test_plain_zarr(
    tmp_path: Path, shape: tuple[int, ...], names: tuple[str, ...] | None, bands: int, size: tuple[int, int]
) -> None:
    path = tmp_path / "plain.zarr"
    values = np.random.default_rng(0).random(shape).astype("float32")
    zarr.create_array(path, data=values, chunks=tuple(min(side, 16) for side in shape), dimension_names=names)
    source = opened(str(path))
    assert (source.spec.bands, *source.spec.window.shape) == (bands, *size)
    read = source.read(source.spec.window)
    expected = np.moveaxis(values, -1, 0) if shape[-1] in {3, 7} else values.reshape(bands, *size)
    np.testing.assert_array_equal(read, expected)
    assert source.spec.georef.unit == "pixel"


def test_zarr_of_an_object_store(tmp_path: Path, write_as: WriteAs) -> None:
    values = picture()
    path = write_as("ome-zarr-0.5", values, 0.25, 4)
    source = opened(f"local://{path}", view=View(mpp=1.0))  # fsspec: any store by its URL
    np.testing.assert_array_equal(source.read(source.spec.window), values[:, ::4, ::4])


def test_nodata_and_nan_of_zarr(tmp_path: Path) -> None:
    values = np.ones((2, 20, 30), dtype="float32")
    values[:, 3, 4] = np.nan
    values[:, 5, 6] = -1
    zarr.create_array(tmp_path / "n.zarr", data=values)
    source = opened(str(tmp_path / "n.zarr"), nodata=-1)
    valid = source.valid(source.spec.window, source.read(source.spec.window))
    assert valid is not None
    assert set(zip(*np.nonzero(~valid), strict=True)) == {(3, 4), (5, 6)}


def test_an_open_slide_never_travels(write_as: WriteAs) -> None:
    source = opened(str(write_as("slide", picture(), 0.5)))
    with pytest.raises((TypeError, ValueError)):
        pickle.dumps(source)


def corrupt_level(path: Path) -> Path:
    """A slide whose second level has lost its data."""
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[1].dataoffsets[0], file.pages[1].databytecounts[0]  # type: ignore[union-attr]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * count)
    return path


def damaged(what: str, tmp_path: Path, write_as: WriteAs) -> tuple[str, dict[str, Any]]:
    """A source with something wrong, and how it is opened."""
    small = picture(64, 80)
    if what == "unknown vendor":
        (tmp_path / "x.svs").write_bytes(b"no slide" * 30)
        return str(tmp_path / "x.svs"), {}
    if what == "no directory":
        (tmp_path / "x.svs").write_bytes(b"II*\0" + bytes(200))
        return str(tmp_path / "x.svs"), {}
    if what == "no size":
        return str(write_as("ome-zarr-0.5", small, None)), {"view": View(mpp=1.0)}
    if what == "a plate":
        zarr.open_group(tmp_path / "p.zarr", mode="w").attrs["ome"] = {"version": "0.5", "plate": {}}
        return str(tmp_path / "p.zarr"), {}
    if what == "a group of two":
        group = zarr.open_group(tmp_path / "g.zarr", mode="w")
        for name in ("a", "b"):
            group.create_array(name, shape=(4, 4), dtype="uint8")
        return str(tmp_path / "g.zarr"), {}
    if what == "a level that is missing":
        path = tmp_path / "m.zarr"
        zarr.open_group(path, mode="w").attrs["ome"] = {
            "version": "0.5", "multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}],
        }  # fmt: skip
        return str(path), {}
    if what == "a damaged OME-TIFF":
        path = tmp_path / "d.ome.tif"
        path.write_bytes(write_as("ome-tiff", small, 0.5).read_bytes().replace(b"<Pixels", b"<Voxels"))
        return str(path), {}
    assert what == "a placed raster with mpp"
    path = tmp_path / "geo.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 9, 0, -1, 9),
    ) as dataset:  # fmt: skip
        dataset.write(np.zeros((1, 8, 8), np.uint8))
    return str(path), {"view": View(mpp=1.0)}


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("unknown vendor", r"is no slide of a vendor that OpenSlide knows .*; convert it"),
        ("no directory", r"is a TIFF without a page; copy or export it again"),
        ("no size", r"does not say how large its pixels are.* 1 micrometres per pixel; give .* --source-mpp"),
        ("a plate", r"is an OME-Zarr plate; give one image of it, such as .*A/1/0"),
        ("a group of two", r"is no OME-Zarr image; give one of what it holds \(a, b\)"),
        ("a level that is missing", r"its level '0' is missing or damaged"),
        ("a damaged OME-TIFF", r"is a damaged OME-TIFF .*; copy or export it again"),
        ("a placed raster with mpp", r"has a CRS, so --mpp and --source-mpp mean nothing here"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(
    what: str, words: str, tmp_path: Path, write_as: WriteAs
) -> None:
    uri, options = damaged(what, tmp_path, write_as)
    with pytest.raises(SegmentTilesError, match=words) as caught:
        opened(uri, **options)
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)


def test_a_corrupt_level_fails_where_it_is_read_and_the_others_go_on(
    tmp_path: Path, write_as: WriteAs
) -> None:
    path = tmp_path / "slide.tif"
    path.write_bytes(write_as("slide", picture(600, 500), 0.5, 2).read_bytes())
    source = opened(str(corrupt_level(path)), level=1)
    with pytest.raises(
        ReadFailedError, match=r"level 1, rows 0 to .* cannot be decoded .*another --level"
    ) as error:
        source.read(source.spec.window)
    assert "\n" not in str(error.value)
    with pytest.raises(ReadFailedError, match="level 1"):
        source.read(source.spec.window)
    assert opened(str(path)).read(Window(0, 0, 600, 500)).shape == (3, 600, 500)


def test_a_corrupt_chunk_of_zarr_fails_where_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.zarr"
    zarr.create_array(path, data=np.ones((64, 64), "uint16"), chunks=(32, 32))
    chunk = path / "c" / "1" / "0"
    chunk.write_bytes(b"no chunk")
    source = opened(str(path))
    assert (source.read(Window(0, 0, 32, 64)) == 1).all()
    with pytest.raises(ReadFailedError, match=re.escape("level 0, chunk (1, 0) cannot be read or decoded")):
        source.read(Window(20, 0, 40, 64))
