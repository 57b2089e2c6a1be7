"""Members of a stack in other CRS, or turned, have the pixels that GDAL's exact warp gives them on the grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import open_store, read_georef
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.stacks.description import Member, StackDescription, stack_named
from segment_tiles.pipeline.sources.stacks.resolve import OF_NO_STACK, resolved
from segment_tiles.pipeline.sources.stacks.stack import StackSource
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.request import plan_run
from segment_tiles.workflows.scenes.stack_source import with_resolved_source

CRS = "EPSG:32633"
GRID = rasterio.Affine(10, 0, 600_000, 0, -10, 5_000_000)
SHAPE = (290, 310)
"""More than one block, with a rest."""
THRESHOLD = 100.5


def write(path: Path, values: NDArray[Any], transform: Any, crs: str, nodata: float | None = None) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[1], height=values.shape[0], count=1, dtype=values.dtype,
        crs=crs, transform=transform, nodata=nodata, tiled=True, blockxsize=64, blockysize=64,
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
    return path


def member(
    path: Path, crs: str, metres: float, dtype: str, *, holes: bool = False, turned: float = 0
) -> Path:
    """Write noise in another CRS that covers the most of the grid, and lies beyond it."""
    rng = np.random.default_rng(3)
    west, south, east, north = transform_bounds(CRS, crs, 600_400, 4_997_000, 603_500, 5_000_100)
    step = metres / 111_000 if crs == "EPSG:4326" else metres
    transform = rasterio.Affine(step, 0, west, 0, -step, north) @ rasterio.Affine.rotation(turned)
    shape = int((north - south) / step), int((east - west) / step)
    values = rng.integers(1, 250 if dtype == "uint8" else 9000, shape).astype(dtype)
    if holes:
        values[rng.random(shape) < 0.1] = 0
    return write(path, values, transform, crs, 0 if holes else None)


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(1, 250, SHAPE).astype("uint8")
    return write(tmp_path / "grid.tif", values, GRID, CRS)


def by_gdal(path: Path, method: str, mark: float, **scale: float) -> NDArray[Any]:
    """What GDAL's warp gives on the grid, computed without approximation; ``mark`` where it gives nothing."""
    with (
        rasterio.open(path) as file,
        WarpedVRT(
            file, crs=CRS, transform=GRID, height=SHAPE[0], width=SHAPE[1], nodata=mark,
            resampling=Resampling[method], tolerance=1e-9, **scale,
        ) as view,
    ):  # fmt: skip
        return np.asarray(view.read(1))


def opened(*members: Member, rule: Any = "any") -> StackSource:
    found = open_source(StackDescription(members, "grid").text(), nodata_rule=rule)
    assert isinstance(found, StackSource)
    return found


@pytest.mark.parametrize(
    ("crs", "metres", "dtype", "holes", "turned"),
    [
        ("EPSG:32632", 10, "uint16", True, 0),
        ("EPSG:32632", 4, "float32", False, 0),
        ("EPSG:4326", 25, "float32", True, 0),
        pytest.param("EPSG:3857", 60, "uint16", False, 0, marks=pytest.mark.slow),
        (CRS, 10, "uint16", True, 12),
    ],
)
def test_a_member_is_as_gdal_warps_it(
    crs: str, metres: float, dtype: str, holes: bool, turned: float, grid: Path, tmp_path: Path
) -> None:
    file = member(tmp_path / "file.tif", crs, metres, dtype, holes=holes, turned=turned)
    for method in ("nearest", "bilinear"):
        source = opened(Member((str(grid),), name="grid"), Member((str(file),), resampling=method))  # type: ignore[arg-type]
        values = source.read(source.spec.window)
        held = source.valid(source.spec.window, values)
        assert held is not None
        at = source.parts[1].at
        # said, for GDAL guesses it from what is asked for
        expected = by_gdal(file, method, 65000, XSCALE=1 / at.columns.factor, YSCALE=1 / at.rows.factor)
        assert 0.5 < held.mean() < 1
        np.testing.assert_array_equal(held, expected != 65000)
        if dtype == "float32":
            np.testing.assert_allclose(values[1][held], expected[held], rtol=1e-6)
        else:
            off = np.abs(values[1][held].astype(int) - expected[held])
            assert (off.max(), (off > 0).mean() < 1e-4) <= (method == "bilinear", True)
        for window in (
            Window(0, 0, 1, 1),
            Window(289, 309, 1, 1),
            Window(250, 100, 20, 200),
            Window(40, 255, 77, 3),
        ):
            part = source.read(window)
            kept = source.valid(window, part)
            np.testing.assert_array_equal(part, values[:, *window.slices()])
            np.testing.assert_array_equal(
                np.ones(window.shape, bool) if kept is None else kept, held[window.slices()]
            )
        source.close()


def test_what_a_turned_member_covers_and_how_large_its_pixels_are_is_said(tmp_path: Path) -> None:
    """A square of 100 m turned by 45 degrees about the middle of a grid of 100 m covers 2 (sqrt 2 - 1) of it."""
    transform = rasterio.Affine(1, 0, 600_000, 0, -1, 5_000_000)
    values = np.ones((100, 100), "uint8")
    turned = transform @ rasterio.Affine.translation(50, 50) @ rasterio.Affine.rotation(45)
    turned = turned @ rasterio.Affine.translation(-50, -50)
    files = (
        write(tmp_path / "grid.tif", values, transform, CRS),
        write(tmp_path / "file.tif", values, turned, CRS),
    )
    source = opened(
        Member((str(files[0]),), name="grid"), Member((str(files[1]),), resampling="nearest"), rule="all"
    )
    said = "\n".join(source.notes)
    assert "file.tif (1 in EPSG:32633, nearest)" in said
    share = float(said.split("file.tif covers ")[1].split("%")[0])
    assert share == pytest.approx(200 * (np.sqrt(2) - 1), abs=0.5)
    assert source.details["members"][1]["pixel"] == pytest.approx([1, 1])
    source.close()


def test_a_small_picture_of_a_member_lies_where_it_does(grid: Path, tmp_path: Path) -> None:
    file = member(tmp_path / "file.tif", "EPSG:32632", 10, "uint8")
    with rasterio.open(file, "r+") as dataset:
        dataset.write((np.indices(dataset.shape)[0] // 2 + 1).astype("uint8"), 1)
    source = opened(Member((str(grid),), name="grid"), Member((str(file),)))
    whole = source.read(source.spec.window)
    small, shown = source.thumbnail(source.spec.window, (58, 62))
    assert shown is not None
    inside = shown & (small[1] > 0) & (whole[1][2::5, 2::5] > 0)
    assert inside.mean() > 0.8
    assert np.abs(small[1].astype(int) - whole[1][2::5, 2::5])[inside].max() <= 4
    assert not source.is_surely_empty(Window(100, 100, 10, 10))
    assert source.parts[1].is_surely_empty(Window(0, 0, 10, 10))
    source.close()


def test_a_run_on_the_grid_of_a_raster(
    tmp_path: Path, thresholded: Any, threshold_model: Any, expected_classes: Any
) -> None:
    """Two zones and a third raster that gives the grid; the map and its files lie there."""
    like = write(tmp_path / "like.tif", np.zeros(SHAPE, "uint8"), GRID, CRS)
    files = [
        member(tmp_path / "a.tif", "EPSG:32632", 10, "uint8", holes=True),
        member(tmp_path / "b.tif", "EPSG:4326", 20, "uint8"),
    ]
    # the scale is said: GDAL guesses less than 1 for a square that is turned a little
    bands = [by_gdal(file, "bilinear", 255, XSCALE=1, YSCALE=1) for file in files]
    both = ",".join(map(str, files))
    options = {"like": str(like), "nodata_rule": "any", "resolution": "native"}
    classes, report, said = thresholded(
        both, threshold_model(2, THRESHOLD), formats=("zarr", "cog"), **options
    )
    valid = (bands[0] != 255) & (bands[1] != 255)
    sure = np.all([np.abs(band.astype(int) - 100.5) > 1 for band in bands], axis=0) | ~valid
    expected = expected_classes(np.stack(bands), valid, THRESHOLD)
    assert 0.4 < valid.mean() < 0.95
    np.testing.assert_array_equal(classes[sure], expected[sure])
    assert any("brought onto the grid of like.tif" in line and "in EPSG:32632" in line for line in said)
    folder = tmp_path / "result-1"
    assert read_georef(open_store(folder / "classes.zarr")).transform == tuple(GRID)[:6]
    with rasterio.open(folder / "classes.tif") as dataset:
        assert (dataset.transform, dataset.shape, dataset.crs) == (GRID, SHAPE, CRS)
        np.testing.assert_array_equal(dataset.read(1), classes)
    part = Window(200, 130, 70, 150)
    bounds = rasterio.windows.bounds(rasterio.windows.Window(130, 200, 150, 70), GRID)
    cut, _, _ = thresholded(both, threshold_model(2, THRESHOLD), roi=bounds, **options)
    np.testing.assert_array_equal(cut, classes[part.slices()])
    assert json.dumps(report["source"]["uri"]).count(".tif") >= 2


def test_only_a_stack_of_several_crs_takes_the_grid(grid: Path, tmp_path: Path, threshold_model: Any) -> None:
    """The name of another, and so the record of its run, stays as it was; what is asked for is said where it lacks."""
    other = member(tmp_path / "other.tif", "EPSG:32632", 10, "uint8")
    same = write(tmp_path / "same.tif", np.ones((30, 30), "uint8"), GRID @ rasterio.Affine.scale(2), CRS)
    model = str(threshold_model(2, THRESHOLD))

    def name(*files: Path, **options: Any) -> str:
        config = RunConfig(",".join(map(str, files)), model, tmp_path / "out", device="cpu", **options)
        return with_resolved_source(config).source

    assert name(grid, same, like=str(grid)) == name(grid, same)
    both = stack_named(name(grid, other, like=str(same)))
    assert both.like is not None
    assert (both.like.transform, both.like.shape) == (
        (20.0, 0.0, 600_000.0, 0.0, -20.0, 5_000_000.0),
        (30, 30),
    )
    assert name(Path(name(grid, other, like=str(same)))) == name(grid, other, like=str(same))
    assert stack_named(name(grid, other, like=str(same), grid_of="grid")).like is None
    with pytest.raises(
        SourceError, match=r"other.tif: has EPSG:32632, but .* --like RASTER .*--grid-of NAME"
    ) as one:
        plan_run(RunConfig(f"{grid},{other}", model, tmp_path / "out", device="cpu"))
    assert "\n" not in str(one.value)
    bare = write(tmp_path / "bare.tif", np.ones((5, 5), "uint8"), GRID, None)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=r"has no CRS.*gdal_edit.py -a_srs"):
        open_source(resolved(f"{grid},{bare}", OF_NO_STACK))
    far = write(
        tmp_path / "far.tif", np.ones((5, 5), "uint8"), rasterio.Affine(1, 0, 100, 0, -1, 20), "EPSG:4326"
    )
    with pytest.raises(SourceError, match=r"far.tif: has no pixel in common with .*grid.tif"):
        opened(Member((str(grid),), name="grid"), Member((str(far),)))
