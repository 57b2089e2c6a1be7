"""A raster with RPCs lies as GDAL places it at a height or on a DEM; nothing here knows our warped view."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, TransformWarning
from rasterio.rpc import RPC
from rasterio.transform import RPCTransformer
from rasterio.warp import calculate_default_transform, reproject

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import ChangedRunError, SegmentTilesError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import open_store, read_georef
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.rasters.rpcs import RpcHeights
from segment_tiles.pipeline.sources.stacks.description import stack_named
from segment_tiles.pipeline.sources.stacks.resolve import OF_NO_STACK, StackOptions, resolved
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.plans.record import settings_of
from segment_tiles.workflows.run.request import checked_request

SHAPE = (61, 75)
THRESHOLD = 100.5


def terms(**numbers: float) -> list[float]:
    """Return 20 coefficients, of which some are not 0."""
    found = [0.0] * 20
    for name, value in numbers.items():
        found[int(name[1:])] = value
    return found


RPCS = RPC(
    height_off=500, height_scale=500, lat_off=45, lat_scale=0.003, long_off=10, long_scale=0.004,
    line_off=30, line_scale=30, line_num_coeff=terms(c0=0.01, c1=0.1, c2=-0.97, c3=0.02), line_den_coeff=terms(c0=1),
    samp_off=37, samp_scale=37, samp_num_coeff=terms(c1=0.96, c2=0.13, c3=0.2, c4=0.01), samp_den_coeff=terms(c0=1),
)  # fmt: skip
"""Of a picture that is turned a little, and leans: what is higher lies further right."""


@pytest.fixture
def sensor(tmp_path: Path, made: Any) -> Path:
    """A picture with RPCs and nodata in it."""
    path = tmp_path / "sensor.tif"
    values = made.blanked(made.noise(), 7)
    made.write(path, values, crs=None, transform=None, nodata=7, tiled=True, blockxsize=16, blockysize=16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "r+") as dataset:
            dataset.rpcs = RPCS
    return path


@pytest.fixture
def dem(tmp_path: Path) -> Path:
    """Hills over most of the picture; a part of them is unknown."""
    down, across = np.mgrid[:60, :80]
    heights = (500 + 400 * np.sin(down / 7) * np.cos(across / 9)).astype("float32")
    heights[:9, :9] = -9999
    path = tmp_path / "dem_Mixed.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=80, height=60, count=1, dtype="float32", crs="EPSG:4326", nodata=-9999,
        transform=rasterio.Affine(0.00012, 0, 9.9957, 0, -0.00012, 45.0036),
    ) as dataset:  # fmt: skip
        dataset.write(heights, 1)
    return path


def picked(path: Path, **heights: Any) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Any]:
    """Return the pixels that lie under those of GDAL's grid by its RPCs, which of them there are, and the grid."""
    rows, columns = SHAPE
    transform, width, height = calculate_default_transform(
        "EPSG:4326", "EPSG:4326", columns, rows, rpcs=RPCS, **heights
    )
    down, across = np.mgrid[:height, :width] + 0.5
    xs, ys = transform.c + transform.a * across, transform.f + transform.e * down
    with warnings.catch_warnings(), RPCTransformer(RPCS, **heights) as model:
        warnings.simplefilter("ignore", TransformWarning)  # where the DEM says nothing
        # line by line, as GDAL warps: beside unknown heights it takes those that are known of a line
        found = [model.rowcol(*line, op=np.float64) for line in zip(xs, ys, strict=True)]
    row, column = (np.nan_to_num(side, posinf=-9) for side in np.stack(found, axis=1))
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    with rasterio.open(path) as dataset:
        values, mark = dataset.read(1), dataset.nodata
    taken = values[np.where(inside, row, 0).astype(int), np.where(inside, column, 0).astype(int)]
    return np.where(inside, taken, 0), inside & (taken != mark), transform


@pytest.mark.parametrize("how", ["height", "dem"])
def test_rpcs_place_a_raster(
    how: str,
    sensor: Path,
    dem: Path,
    thresholded: Any,
    threshold_model: Any,
    expected_classes: Any,
    tmp_path: Path,
) -> None:
    ours, gdals = {
        "height": ({"rpc_height": 700.0}, {"RPC_HEIGHT": 700}),
        "dem": ({"rpc_dem": str(dem)}, {"RPC_DEM": str(dem)}),
    }[how]
    if how == "dem":  # where a DEM ends or breaks, GDAL gives a neighbour's value to some pixels without data
        with rasterio.open(sensor, "r+") as dataset:
            dataset.nodata = None
    values, valid, transform = picked(sensor, **gdals)
    classes, report, said = thresholded(sensor, threshold_model(1, THRESHOLD), **ours)
    assert 0.3 < valid.mean() < 0.9
    np.testing.assert_array_equal(classes, expected_classes(values[np.newaxis], valid, THRESHOLD))
    if how == "height":  # rasterio makes the name of a DEM upper case here
        with rasterio.open(sensor) as dataset:
            warped = np.zeros(valid.shape, np.uint8)
            reproject(
                rasterio.band(dataset, 1), warped, rpcs=RPCS, dst_crs="EPSG:4326", dst_transform=transform,
                tolerance=0, **gdals,
            )  # fmt: skip
        np.testing.assert_array_equal(warped[valid], values[valid])
    georef = read_georef(open_store(tmp_path / "result-1" / "classes.zarr"))
    assert georef.transform == pytest.approx(tuple(transform)[:6], rel=1e-12)
    assert georef.crs.to_epsg() == 4326
    assert any("placed by its RPCs" in line and "nearest" in line for line in said)
    assert report["source"]["uri"].endswith("sensor.tif")


def test_every_window_and_roi_is_the_crop_of_the_whole(
    sensor: Path, dem: Path, thresholded: Any, threshold_model: Any
) -> None:
    source = open_source(str(sensor), rpc=RpcHeights(dem=str(dem)))
    whole, georef = source.read(source.spec.window), source.spec.georef
    for window in (Window(3, 5, 20, 31), Window(40, 0, 11, 60), Window(0, 17, 1, 3)):
        np.testing.assert_array_equal(source.read(window), whole[:, *window.slices()])
    source.close()
    model = threshold_model(1, THRESHOLD)
    all_of_it, _, _ = thresholded(sensor, model, rpc_dem=str(dem))
    part = Window(7, 9, 30, 41)
    cut, _, _ = thresholded(sensor, model, rpc_dem=str(dem), roi=georef.bounds(part))
    np.testing.assert_array_equal(cut, all_of_it[part.slices()])


def test_a_member_of_a_stack_is_placed_by_its_own_rpcs(sensor: Path, dem: Path, tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text(
        f"members:\n- {{file: sensor.tif, name: a, rpc_dem: {dem.name}}}\n"
        "- {file: sensor.tif, name: b, rpc_height: 700, resampling: nearest}\n"
    )
    source = open_source(resolved(str(tmp_path / "stack.yaml"), StackOptions(grid_of="a")))
    read = source.read(source.spec.window)
    alone = open_source(str(sensor), rpc=RpcHeights(dem=str(dem)))
    np.testing.assert_array_equal(read[0], alone.read(alone.spec.window)[0])
    assert (read[1] != read[0]).mean() > 0.5
    source.close()
    alone.close()


def test_heights_are_of_the_run(sensor: Path, dem: Path, threshold_model: Any, tmp_path: Path) -> None:
    """Both are in its name, and the DEM is a file that it is made of."""

    def settings(**heights: Any) -> dict[str, Any]:
        config = RunConfig(
            str(sensor), str(threshold_model(1, THRESHOLD)), tmp_path / "none", device="cpu", **heights
        )
        return settings_of(*checked_request(config))

    plain, level, other, relief = (
        settings(**heights)
        for heights in ({}, {"rpc_height": 700.0}, {"rpc_height": 701.0}, {"rpc_dem": str(dem)})
    )
    assert len({json.dumps(one["source"]) for one in (plain, level, other, relief)}) == 4
    with rasterio.open(dem, "r+") as dataset:
        dataset.write(dataset.read(1) + 1, 1)
    again = settings(rpc_dem=str(dem))
    assert (again["source"] == relief["source"], again["source version"] == relief["source version"]) == (
        True,
        False,
    )


def test_what_has_no_height_is_said(sensor: Path, dem: Path) -> None:
    """The share of the picture is that of the pixels that GDAL finds a way back to."""
    source = open_source(str(sensor), rpc=RpcHeights(dem=str(dem)))
    said = [line for line in source.notes if "has heights for" in line]
    source.close()
    with rasterio.open(dem) as dataset:
        west, south, east, north = dataset.bounds
    found = 0
    with RPCTransformer(RPCS, RPC_HEIGHT=500) as model:
        for row in range(SHAPE[0]):
            xs, ys = model.xy([row + 0.5] * SHAPE[1], np.arange(SHAPE[1]) + 0.5, offset="ul")
            found += sum(west <= x <= east and south <= y <= north for x, y in zip(xs, ys, strict=True))
    (share,) = (float(line.split("heights for ")[1].split("%")[0]) for line in said)
    assert said[0].startswith("the DEM dem_Mixed.tif")
    assert 50 < share < 100 * found / (SHAPE[0] * SHAPE[1]) + 2
    level = open_source(str(sensor), rpc=RpcHeights(700.0))
    assert not any("heights for" in line for line in level.notes)
    level.close()


@pytest.mark.parametrize(
    ("source", "heights", "said"),
    [
        ("sensor.tif", {"rpc_height": 1.0, "rpc_dem": "dem"}, "exclude each other"),
        ("sensor.tif", {"rpc_height": float("nan")}, "--rpc-height is nan"),
        ("sensor.tif", {"rpc_dem": "none.tif"}, "none.tif: the DEM cannot be read"),
        ("sensor.tif", {"rpc_dem": "sensor.tif"}, "sensor.tif: the DEM has no CRS"),
        ("sensor.tif", {"rpc_dem": "rgb.tif"}, "rgb.tif: has 3 bands, so it is no DEM"),
        ("volume.nii.gz", {"rpc_height": 5.0}, "--rpc-height is 5, but volume.nii.gz is a volume"),
        ("sensor.tif", {"rpc_dem": "far.tif"}, "far.tif: the DEM covers 80 to 80.007 E"),
        ("far.tif", {"rpc_height": 1.0}, "far.tif: has no RPCs"),
        ("sensor.tif", {"rpc_height": 1.0, "level": 1}, "which overviews do not have: leave --level out"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    source: str, heights: dict[str, Any], said: str, sensor: Path, made: Any, threshold_model: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with rasterio.open(
        tmp_path / "far.tif", "w", driver="GTiff", width=70, height=60, count=1, dtype="uint8", crs="EPSG:4326",
        transform=rasterio.Affine(0.0001, 0, 80, 0, -0.0001, 45),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, 60, 70), np.uint8))
    made.write(tmp_path / "rgb.tif", np.ones((3, 60, 70), np.uint8))
    with rasterio.open(sensor, "r+") as dataset:
        dataset.build_overviews([2])
    monkeypatch.chdir(tmp_path)
    config = RunConfig(source, str(threshold_model(1, THRESHOLD)), tmp_path / "out", device="cpu", **heights)
    with pytest.raises(SegmentTilesError, match=said) as refused:
        checked_request(config)
    assert not isinstance(refused.value, ChangedRunError)
    assert "\n" not in str(refused.value)


def test_a_tiled_picture_with_rpcs_is_no_slide_and_info_places_it(
    sensor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resolved(str(sensor), OF_NO_STACK) == str(sensor)
    assert run_command_line(["info", str(sensor), "--rpc-height", "700", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["crs"] == "EPSG:4326"
    assert "placed by its RPCs at a height of 700 m" in said["notes"][0]
    name = resolved(str(sensor), StackOptions(rpc_height=700.0))
    assert stack_named(name).members[0].rpc == RpcHeights(700.0)
