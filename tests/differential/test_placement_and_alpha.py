"""Files that are placed by something else than a transform, and bands tagged alpha: applied, or said."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC
from rasterio.vrt import WarpedVRT
from served_folder import served_folder

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import open_store, read_georef
from segment_tiles.pipeline.sources.open import open_source

TURNED = (
    rasterio.Affine.translation(500000, 5e6) * rasterio.Affine.rotation(20) * rasterio.Affine.scale(10, -10)
)


def information(path: Path | str, capsys: Any) -> dict[str, Any]:
    """Return what `info --json` says."""
    assert run_command_line(["info", str(path), "--json"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


@pytest.mark.parametrize("kind", ["plain", "nodata", "nodata of two bands", "mask", "alpha", "infinity"])
def test_ground_control_points_place_a_raster(
    kind, tmp_path, made, threshold_model, expected_classes, thresholded, capsys
):
    points = made.control_points(TURNED, "EPSG:32633")
    values, options = made.noise(2, "float32" if kind == "infinity" else "uint8"), {}
    if kind.startswith("nodata"):
        values = made.blanked(values, (7, 8 if "two" in kind else 7))
        options["nodata"] = 7
    if kind == "mask":
        mask = np.ones(values.shape[1:], bool)
        mask[made.BLANK] = False
        options |= {"mask": mask, "environment": {"GDAL_TIFF_INTERNAL_MASK": True}}
    if kind == "alpha":
        values[1] = 255
        values[1][made.BLANK] = 0
        options["alpha"] = "YES"
    if kind == "infinity":
        values = made.blanked(values, np.inf)
    path = made.write(tmp_path / "a.tif", values, gcps=points, **options)
    if "two" in kind:
        Path(f"{path}.aux.xml").write_text(
            '<PAMDataset><PAMRasterBand band="2"><NoDataValue>8</NoDataValue></PAMRasterBand></PAMDataset>'
        )
    bands = 1 if kind == "alpha" else 2
    missing = np.zeros(values.shape[1:], bool)
    missing[made.BLANK] = kind != "plain"
    with rasterio.open(path) as file, WarpedVRT(file, tolerance=0) as view:
        grid, shape = view.transform, view.shape
    holes = made.write(
        tmp_path / "holes.tif", np.where(missing, 1, 2).astype(np.uint8)[np.newaxis], gcps=points
    )
    with rasterio.open(holes) as file, WarpedVRT(file, tolerance=0) as view:
        valid = view.read(1) == 2  # 1: missing, 0: outside the file
    bare = made.write(tmp_path / "bare.tif", values[:bands], gcps=points)
    with rasterio.open(bare) as file, WarpedVRT(file, tolerance=0) as view:
        warped = view.read()
    classes, _, said = thresholded(path, threshold_model(bands, 100.5, str(values.dtype)))
    filled = np.where(np.isfinite(warped), warped, 0)
    assert np.array_equal(classes, expected_classes(filled, valid, 100.5))
    georef = read_georef(open_store(tmp_path / "result-1" / "classes.zarr"))
    assert georef.transform == tuple(grid)[:6]
    assert georef.crs.to_epsg() == 32633
    assert any("5 ground control points" in line and "nearest" in line for line in said)
    facts = information(path, capsys)
    assert (facts["gcps"], (facts["height"], facts["width"])) == (5, shape)


def test_windows_of_a_placed_raster_fit_together(tmp_path, made):
    path = made.write(tmp_path / "a.tif", made.noise(), gcps=made.control_points(TURNED, "EPSG:32633"))
    source = open_source(str(path))
    whole = source.read(source.spec.window)
    for window in (Window(3, 5, 20, 31), Window(40, 0, 11, 60), Window(0, 17, 77, 3)):
        rows, columns = window.slices()
        assert np.array_equal(source.read(window), whole[:, rows, columns])
    source.close()


def test_what_is_not_applied_is_said(tmp_path, made, capsys):
    with_points = made.write(
        tmp_path / "points.tif", made.noise(), gcps=made.control_points(TURNED, "EPSG:32633")
    )
    with rasterio.open(with_points, "r+") as dataset:
        dataset.gcps = (dataset.gcps[0][:2], dataset.gcps[1])
    assert "2 ground control points are fewer than 3" in information(with_points, capsys)["notes"][0]

    sensor = made.write(tmp_path / "sensor.tif", made.noise(), crs=None, transform=None)
    ones = [1.0] + [0.0] * 19
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(sensor, "r+") as dataset:
            dataset.rpcs = RPC(0, 100, 45, 1, ones, ones, 30, 30, 15, 1, ones, ones, 30, 30)
    said = information(sensor, capsys)
    assert said["rpcs"]
    assert "--rpc-dem FILE" in said["notes"][0]

    swath = made.vrt(
        tmp_path / "swath.vrt", made.write(tmp_path / "s.tif", made.noise()), ["Byte|"],
        '<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">x.tif</MDI></Metadata>',
    )  # fmt: skip
    assert "gdalwarp -geoloc swath.vrt" in information(swath, capsys)["notes"][0]


@pytest.mark.parametrize(
    "options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}]
)
def test_an_orientation_that_gdal_does_not_apply_is_said(tmp_path, capsys, options):
    path = tmp_path / "turned.tif"
    tifffile.imwrite(path, np.zeros((8, 9), np.uint8), extratags=[(274, 3, 1, 6, True)], **options)
    said = information(path, capsys)
    assert said["orientation"] == 6
    assert "Orientation tag is 6" in said["notes"][0]
    assert "magick turned.tif -auto-orient" in said["notes"][0]


def test_an_orientation_is_said_of_archives_and_servers_too(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "turned.tif", np.zeros((8, 9), np.uint8), extratags=[(274, 3, 1, 6, True)])
    with zipfile.ZipFile(tmp_path / "a&b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "turned.tif", "turned.tif")
    with served_folder(tmp_path) as address:
        for name in (f"/vsizip/{tmp_path}/a&b.zip/turned.tif", f"{address}/turned.tif"):
            said = information(name, capsys)
            assert said["orientation"] == 6
            assert any("Orientation tag is 6" in note for note in said["notes"])


def test_pages_and_palettes_are_said(tmp_path, made, capsys):
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as file:  # a picture and a smaller one, such as a label of a scan
        file.write(np.zeros((20, 30), np.uint8), metadata=None)
        file.write(np.zeros((7, 9), np.uint8), metadata=None)
    said = information(path, capsys)
    assert len(said["subdatasets"]) == 2
    assert "2 subdatasets or pages" in said["notes"][0]
    colours = made.write(tmp_path / "colours.tif", made.noise(), photometric="palette")
    with rasterio.open(colours, "r+") as dataset:
        dataset.write_colormap(1, {1: (255, 0, 0, 255)})
    assert "colour table" in information(colours, capsys)["notes"][0]


def test_sidecars_of_a_remote_raster_are_not_looked_for(capsys, tmp_path, made):
    made.write(tmp_path / "a.tif", made.noise(), crs=None, transform=None)
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n500005\n4999995\n")
    with served_folder(tmp_path) as address:
        said = information(f"{address}/a.tif", capsys)
    assert said["sidecars"] == "not looked for: the name is remote"
    assert said["transform"] == [1, 0, 0, 0, 1, 0]
    assert information(tmp_path / "a.tif", capsys)["transform"] == [10, 0, 500000, 0, -10, 5000000]


@pytest.fixture
def near_infrared(tmp_path, made):
    """Four bands of noise of which the last, tagged alpha, is data with zeros (water)."""
    values = made.blanked(made.noise(4), (5, 5, 5, 0))
    path = made.write(
        tmp_path / "naip.tif", values, photometric="RGB", alpha="YES", names=("red", "green", "blue", "nir")
    )
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.alpha
    return path, values


@pytest.mark.parametrize(
    ("options", "bands", "is_hidden", "warned"),
    [
        ({"bands": (1, 2, 3, 4)}, 4, False, False),
        ({"alpha": "band"}, 4, False, False),
        ({"bands": (4, 1)}, 2, False, False),
        ({"bands": (1, 2, 3)}, 3, True, True),
        ({}, 3, True, True),
        ({"alpha": "mask"}, 3, True, False),
        ({"alpha": "mask", "bands": (1, 2, 3, 4)}, 4, True, False),
        ({"bands": (1, 2, 3), "alpha": "band"}, 3, False, False),
    ],
)
def test_a_band_tagged_alpha(
    near_infrared, made, threshold_model, expected_classes, thresholded, options, bands, is_hidden, warned
):
    path, values = near_infrared
    chosen = values[[number - 1 for number in options.get("bands", range(1, bands + 1))]]
    valid = np.ones(values.shape[1:], bool)
    valid[made.BLANK] = not is_hidden
    classes, _, said = thresholded(path, threshold_model(bands, 100.5), **options)
    assert np.array_equal(classes, expected_classes(chosen, valid, 100.5))
    alpha = [line for line in said if "tagged alpha" in line]
    assert len(alpha) == warned
    assert not warned or "is named 'nir'" in alpha[0]


def test_without_a_name_many_values_tell_data(tmp_path, made, threshold_model, thresholded):
    values = made.blanked(made.noise(4), (5, 5, 5, 0))
    path = made.write(tmp_path / "a.tif", values, photometric="RGB", alpha="YES")
    assert any("many values" in line for line in thresholded(path, threshold_model(3, 100.5))[2])
    values[3] = np.where(values[3] > 0, 255, 0)
    made.write(path, values, photometric="RGB", alpha="YES")
    assert not any("alpha" in line for line in thresholded(path, threshold_model(3, 100.5))[2])


def test_a_nodata_value_and_an_alpha_band_both_hide(tmp_path, made, threshold_model, thresholded):
    values = made.noise(4)
    values[3] = 255
    values[3, :10] = 0
    values[:3, 30:] = 99
    path = made.write(tmp_path / "a.tif", values, photometric="RGB", alpha="YES", nodata=99)
    classes, _, _ = thresholded(path, threshold_model(3, 100.5))
    assert (classes == 255).all(axis=1).nonzero()[0].tolist() == [*range(10), *range(30, made.HEIGHT)]


def test_alpha_is_refused_or_explained_in_a_line(tmp_path, made, near_infrared, threshold_model, thresholded):
    plain = made.write(tmp_path / "plain.tif", made.noise(3))
    with pytest.raises(UsageError, match=r"--alpha is mask, but no band of .* is tagged alpha"):
        thresholded(plain, threshold_model(3, 100.5), alpha="mask")
    made.write(tmp_path / "rgba.tif", made.noise(4), photometric="RGB", alpha="YES")
    with pytest.raises(ModelError, match=r"3 bands are read.*band 4 is tagged alpha; --alpha band"):
        thresholded(tmp_path / "rgba.tif", threshold_model(4, 100.5))


def test_one_infinite_pixel_moves_no_other(tmp_path, made, small_model, thresholded):
    values = made.noise(3, "float32")
    clean = made.write(tmp_path / "clean.tif", values)
    for bad in (np.inf, -np.inf):
        dirty = values.copy()
        dirty[:, 30, 30] = bad
        missing = values.copy()
        missing[:, 30, 30] = np.nan
        results = []
        for name, picture in (("dirty", dirty), ("missing", missing)):
            path = made.write(tmp_path / f"{name}.tif", picture)
            thresholded(path, small_model, overlap=0.25)
            results.append(sorted(tmp_path.glob("result-*"), key=lambda f: int(f.name[7:]))[-1])
        groups = [open_store(result / "classes.zarr") for result in results]
        for name in ("classes", "confidence"):
            assert np.array_equal(groups[0][name][:], groups[1][name][:])
        assert groups[0]["classes"][30, 30] == 255
    assert clean.exists()
