"""Bad input: one line that says what is wrong and what to do, or a file that is right all the same."""

import json

import numpy as np
import psutil
import pyarrow.parquet as pq
import pyogrio
import pytest
import rasterio
from servers.processes import kill, started_by

from segment_tiles.pipeline.errors import (
    OutputError,
    ReadFailedError,
    RunFailedError,
    SegmentTilesError,
    UsageError,
    VectorError,
    WriteFailedError,
)
from segment_tiles.pipeline.vectors.files import ogr_files
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons.polygonize import polygonize

VRT = """<VRTDataset rasterXSize="4" rasterYSize="4"><GeoTransform>{place}</GeoTransform>
<VRTRasterBand dataType="{type}" band="1"><SimpleSource><SourceFilename relativeToVRT="1">c.tif</SourceFilename>
<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"type": "Byt\xff"}, "no UTF-8: Invalid dataType"),
        ({"place": "0, nan, 0, 0, 0, -1"}, "pixels have no size"),
        ({"place": "nan, 1, 0, 0, 0, -1"}, "pixels have no size"),
        ({"place": "0, inf, 0, 0, 0, -1"}, "pixels have no size"),
        ({"place": "0, 0, 0, 0, 0, -1"}, "pixels have no size: its geotransform is 0, 0, 0, 0, 0, -1"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of rasterio's log
def test_a_virtual_raster_that_says_what_cannot_be(tmp_path, class_raster, refuses, change, expected):
    class_raster(tmp_path / "c.tif", np.ones((4, 4), np.uint8))
    text = VRT.format(**{"place": "0, 1, 0, 0, 0, -1", "type": "Byte", **change})
    (tmp_path / "c.vrt").write_bytes(text.encode("latin-1"))
    said = refuses(SegmentTilesError, lambda: polygonize(tmp_path / "c.vrt", [tmp_path / "p.parquet"]))
    assert "c.vrt" in said
    assert expected in said
    assert not (tmp_path / "p.parquet").exists()


ALL_ENDINGS = ("parquet", "gpkg", "fgb", "geojson", "geojsonl", "qupath.geojson")


def test_raster_of_floats_is_refused(tmp_path, class_raster, refuses):
    raster = class_raster(tmp_path / "height.tif", np.zeros((4, 4), np.float32))
    text = refuses(VectorError, lambda: polygonize(raster, [tmp_path / "p.parquet"]))
    assert "float32" in text
    assert "uint8" in text
    assert not (tmp_path / "p.parquet").exists()


@pytest.mark.parametrize("content", [None, b"no raster"])
def test_missing_or_unreadable_raster_is_refused(tmp_path, refuses, content):
    raster = tmp_path / "classes.tif"
    if content is not None:
        raster.write_bytes(content)
    text = refuses(VectorError, lambda: polygonize(raster, [tmp_path / "p.parquet"]))
    assert "classes.tif" in text


def test_raster_without_crs_keeps_pixel_coordinates_and_says_so(tmp_path, class_raster, land_cover):
    raster = class_raster(tmp_path / "c.tif", land_cover, crs=None, transform=None)
    out = [tmp_path / f"p.{ending}" for ending in ALL_ENDINGS]
    report = polygonize(raster, out)
    assert len(report.notes) == 1
    assert "no CRS" in report.notes[0]
    assert "pixels" in report.notes[0]
    assert report.unit == "px"
    geo = json.loads(pq.read_metadata(out[0]).metadata[b"geo"])
    assert geo["columns"]["geometry"]["crs"] is None
    assert geo["columns"]["geometry"]["bbox"] == [0.0, -300.0, 260.0, 0.0]
    for path in out[1:3]:
        frame = pyogrio.read_dataframe(path, layer="p")
        assert frame.geometry.area.sum() == (land_cover != 9).sum()
        assert frame.crs is None or "Undefined" in frame.crs.name
    features = json.loads(out[3].read_text())["features"]
    assert len(features) == report.features
    assert max(x for f in features for x, _ in f["geometry"]["coordinates"][0]) == 260


def test_pmtiles_without_crs_are_refused(tmp_path, class_raster, refuses):
    raster = class_raster(tmp_path / "c.tif", np.zeros((4, 4), np.uint8), crs=None, transform=None)
    text = refuses(UsageError, lambda: polygonize(raster, [tmp_path / "p.pmtiles"]))
    assert "CRS" in text
    assert "geojson" in text


@pytest.mark.parametrize("ending", ALL_ENDINGS)
def test_raster_of_nodata_gives_an_empty_valid_file(tmp_path, class_raster, ending):
    raster = class_raster(tmp_path / "c.tif", np.full((70, 80), 9, np.uint8))
    out = tmp_path / f"p.{ending}"
    report = polygonize(
        raster, [out], PolygonizeOptions(vector_tile=32, simplify=1.0, sieve=3, minimum_hole=3)
    )
    assert report.features == 0
    assert report.classes == ()
    if ending == "parquet":
        assert pq.read_table(out).num_rows == 0
        assert "geo" in {key.decode() for key in pq.read_metadata(out).metadata}
    elif ending == "geojsonl":
        assert out.read_text() == ""
    elif ending == "qupath.geojson":
        assert json.loads(out.read_text()) == {"type": "FeatureCollection", "features": []}
    else:
        assert pyogrio.read_info(out, layer="p", force_feature_count=True)["features"] == 0


def test_raster_that_breaks_off_is_said(tmp_path, class_raster, land_cover, refuses):
    raster = class_raster(tmp_path / "c.tif", land_cover)
    raster.write_bytes(raster.read_bytes()[:60_000])
    text = refuses(ReadFailedError, lambda: polygonize(raster, [tmp_path / "p.parquet"]))
    assert "c.tif" in text
    assert "rows" in text


def test_workers_that_are_killed_are_said_and_the_rest_is_kept(tmp_path, class_raster, land_cover, refuses):
    raster = class_raster(tmp_path / "c.tif", land_cover)
    options = PolygonizeOptions(vector_tile=50)

    def kill_a_worker(step, done, total):
        # all of them: a single one might have had nothing left to do; and at every start, for the first ones are tried
        # again if only one had done a task. Other tests leave processes too
        for server in started_by(psutil.Process(), "forkserver", recursive=False):
            kill(started_by(server))

    def run():
        polygonize(raster, [tmp_path / "p.parquet"], options, workers=2, progress=kill_a_worker)

    assert "fewer workers" in refuses(RunFailedError, run)
    assert any((tmp_path / ".p.parquet.tiles").glob("whole-*.arrow"))
    assert polygonize(raster, [tmp_path / "p.parquet"], options).features > 0


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"level_scale": 0.0}])
def test_numbers_that_make_no_sense_are_refused(tmp_path, class_raster, refuses, wrong):
    raster = class_raster(tmp_path / "c.tif", np.zeros((4, 4), np.uint8))
    text = refuses(UsageError, lambda: polygonize(raster, [tmp_path / "p.parquet"], **wrong))
    assert "must be" in text or "give a number from 1" in text


def test_unknown_format_is_refused_before_work(tmp_path, class_raster, refuses):
    raster = class_raster(tmp_path / "c.tif", np.zeros((4, 4), np.uint8))
    text = refuses(UsageError, lambda: polygonize(raster, [tmp_path / "p.dwg"]))
    assert "'p.dwg'" in text
    assert "gpkg" in text
    text = refuses(UsageError, lambda: polygonize(raster, [tmp_path / "p.data"], formats=["dxf"]))
    assert "'dxf'" in text
    assert refuses(UsageError, lambda: polygonize(raster, []))
    assert [path.name for path in tmp_path.iterdir()] == ["c.tif"]


def test_format_by_name_overrides_the_ending(tmp_path, class_raster):
    raster = class_raster(tmp_path / "c.tif", np.zeros((4, 4), np.uint8))
    polygonize(raster, [tmp_path / "p.data"], formats=["geojson"])
    assert len(json.loads((tmp_path / "p.data").read_text())["features"]) == 1


def test_one_file_for_two_formats_is_refused(tmp_path, class_raster, refuses):
    raster = class_raster(tmp_path / "c.tif", np.zeros((4, 4), np.uint8))
    same = [tmp_path / "p.gpkg", tmp_path / "p.gpkg"]
    assert "p.gpkg" in refuses(UsageError, lambda: polygonize(raster, same))
    assert refuses(UsageError, lambda: polygonize(raster, [tmp_path / "p.gpkg"], formats=["gpkg", "fgb"]))


@pytest.mark.parametrize("ending", [*ALL_ENDINGS, "pmtiles"])
def test_full_disk_is_said_and_no_file_appears(
    tmp_path, class_raster, land_cover, refuses, full_disk, ending
):
    raster = class_raster(tmp_path / "c.tif", land_cover)
    out = tmp_path / f"p.{ending}"

    def write():
        def fill_up(step, done, total):
            if step == "join" and done == total:
                limit()

        polygonize(raster, [out], PolygonizeOptions(vector_tile=150), progress=fill_up)

    with full_disk(20_000) as limit:
        text = refuses(WriteFailedError, write)
    assert out.name in text
    assert not out.exists()
    # what was finished is kept, so that the same command goes on
    assert any((tmp_path / f".{out.name}.tiles").glob("whole-*.arrow"))
    assert polygonize(raster, [out], PolygonizeOptions(vector_tile=150)).features > 0


def test_a_full_disk_while_the_style_of_a_geopackage_is_written(
    tmp_path, class_raster, refuses, full_disk, monkeypatch
):
    raster = class_raster(tmp_path / "c.tif", np.ones((6, 6), np.uint8))
    add = ogr_files.add_qgis_style

    def add_on_full_disk(path, layer):
        with full_disk(path.stat().st_size) as limit:
            limit()
            add(path, layer)

    monkeypatch.setattr(ogr_files, "add_qgis_style", add_on_full_disk)
    text = refuses(WriteFailedError, lambda: polygonize(raster, [tmp_path / "p.gpkg"]))
    assert "p.gpkg cannot be written as GPKG" in text
    assert not (tmp_path / "p.gpkg").exists()


@pytest.mark.parametrize("options", [{}, {"majority": 3}])
def test_full_disk_while_tracing(tmp_path, class_raster, land_cover, refuses, full_disk, options):
    raster = class_raster(tmp_path / "c.tif", land_cover)
    with full_disk(2_000) as limit:
        limit()
        text = refuses(
            WriteFailedError,
            lambda: polygonize(raster, [tmp_path / "p.parquet"], PolygonizeOptions(**options)),
        )
    assert "full" in text
    assert not (tmp_path / "p.parquet").exists()


def test_masked_pixels_are_nodata(tmp_path, class_raster):
    raster = class_raster(tmp_path / "c.tif", np.ones((6, 6), np.uint8), nodata=None)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(raster, "r+") as dataset:
        mask = np.full((6, 6), 255, np.uint8)
        mask[:2] = 0
        dataset.write_mask(mask)
    polygonize(raster, [tmp_path / "p.parquet"], PolygonizeOptions(vector_tile=4))
    (row,) = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert row["pixels"] == 24
    assert row["touches_nodata"]


@pytest.mark.parametrize(
    ("dtype", "code"),
    [(np.uint16, 60_000), (np.int32, -(2**31)), (np.uint32, 3_000_000_000), (np.int64, 2**40 + 1)],
)
def test_codes_beside_a_mask_are_not_wrapped(tmp_path, class_raster, dtype, code):
    raster = class_raster(tmp_path / "c.tif", np.full((6, 6), code, dtype), nodata=None)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(raster, "r+") as dataset:
        dataset.write_mask(np.repeat(np.uint8([0, 255]), 18).reshape(6, 6))
    polygonize(raster, [tmp_path / "p.parquet"], PolygonizeOptions(vector_tile=4, sieve=2))
    (row,) = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert (row["class_code"], row["pixels"]) == (code, 18)


def test_codes_of_64_bits_without_sign(tmp_path, class_raster, refuses):
    codes = np.array([[2**63 - 1, 2**63 - 2, 7]], np.uint64)
    raster = class_raster(tmp_path / "c.tif", codes, nodata=7)
    polygonize(raster, [tmp_path / "p.parquet"])
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert {row["class_code"]: row["pixels"] for row in rows} == {2**63 - 1: 1, 2**63 - 2: 1}
    raster = class_raster(tmp_path / "larger.tif", codes + np.uint64(1), nodata=8)
    text = refuses(VectorError, lambda: polygonize(raster, [tmp_path / "q.parquet"]))
    assert "9223372036854775808" in text


def test_codes_of_any_integer_type(tmp_path, class_raster):
    codes = np.array([[-7, -7, 70_000], [9, 70_000, 70_000]], np.int32)
    raster = class_raster(tmp_path / "c.tif", codes)
    polygonize(raster, [tmp_path / "p.parquet"], PolygonizeOptions(vector_tile=2, majority=0, minimum_hole=2))
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert {row["class_code"]: row["pixels"] for row in rows} == {-7: 2, 70_000: 3}


def test_leftover_of_a_raster_that_changed_is_not_used(tmp_path, class_raster, land_cover):
    raster = class_raster(tmp_path / "c.tif", land_cover)
    options = PolygonizeOptions(vector_tile=100)

    def stop(step, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        polygonize(raster, [tmp_path / "p.parquet"], options, progress=stop)
    class_raster(raster, np.full((300, 260), 2, np.uint8))
    report = polygonize(raster, [tmp_path / "p.parquet"], options)
    assert [(c.code, c.pixels) for c in report.classes] == [(2, 300 * 260)]


def test_leftover_of_another_request_is_refused_until_restart(tmp_path, class_raster, land_cover, refuses):
    raster = class_raster(tmp_path / "c.tif", land_cover)
    out = tmp_path / "p.parquet"

    def stop(step, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        polygonize(raster, [out], PolygonizeOptions(vector_tile=100), progress=stop)
    other = PolygonizeOptions(vector_tile=100, connectivity=8)
    text = refuses(OutputError, lambda: polygonize(raster, [out], other))
    assert "connectivity" in text
    assert "--restart" in text
    assert polygonize(raster, [out], other, restart=True).features > 0
    assert not (tmp_path / ".p.parquet.tiles").exists()
