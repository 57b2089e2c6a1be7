"""Mosaics: scene borders leave no seam, and scenes that do not fit are refused with the reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import Resampling, calculate_default_transform, reproject

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.batch.jobs import Mosaic
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.run import run_batch
from segment_tiles.workflows.batch.sources.mosaic import write_mosaic

HEIGHT, WIDTH = 210, 190
CUTS = ((0, 0, 97, 83), (0, 83, 97, 107), (97, 0, 113, 83), (97, 83, 113, 107))
"""Row, column, height and width of quarters whose borders fall inside tiles."""


@pytest.fixture
def quarters(tmp_path: Path, aerial_crop: Path, write_crop: Callable[..., Path]) -> list[Path]:
    for number, (row, column, height, width) in enumerate(CUTS):
        write_crop(aerial_crop, tmp_path / f"quarter_{number}.tif", 50 + row, 60 + column, height, width)
    return sorted(tmp_path.glob("quarter_*.tif"))


def test_the_map_of_a_mosaic_is_that_of_the_whole_raster(
    tmp_path: Path,
    aerial_crop: Path,
    quarters: list[Path],
    jobs_file: Callable[..., Path],
    write_crop: Callable[..., Path],
    recorder: Any,
) -> None:
    write_crop(aerial_crop, tmp_path / "whole.tif", 50, 60, HEIGHT, WIDTH)
    path = jobs_file({"source": "whole.tif"}, {"name": "joined", "source": "quarter_?.tif", "mosaic": True})
    result = run_batch(read_jobs_file(path), recorder)
    assert [outcome.state for outcome in result.outcomes] == ["done", "done"]
    whole, joined = (open_store(outcome.job.config.out / "classes.zarr") for outcome in result.outcomes)
    assert len(np.unique(whole["classes"][:])) > 1
    for layer in ("classes", "confidence"):
        assert whole[layer][:].tobytes() == joined[layer][:].tobytes()
    reports = [outcome.report or {} for outcome in result.outcomes]
    assert reports[0]["classes"] == reports[1]["classes"]
    again = run_batch(read_jobs_file(path), recorder)
    assert [outcome.state for outcome in again.outcomes] == ["skipped", "skipped"]
    write_crop(aerial_crop, quarters[2], 0, 0, 113, 83)
    with rasterio.open(quarters[2], "r+") as moved, rasterio.open(tmp_path / "whole.tif") as scene:
        moved.transform = scene.transform * rasterio.Affine.translation(0, 97)
    third = run_batch(read_jobs_file(path), recorder)
    assert [outcome.state for outcome in third.outcomes] == ["skipped", "changed"]


def test_pixels_that_no_scene_covers_are_nodata(tmp_path: Path, quarters: list[Path]) -> None:
    index = write_mosaic(Mosaic((str(quarters[0]), str(quarters[3])), None, None), tmp_path / "m.gti.gpkg")
    with rasterio.open(index) as mosaic:
        mask = mosaic.dataset_mask()
        assert (mosaic.height, mosaic.width) == (HEIGHT, WIDTH)
    assert mask[:97, :83].all()
    assert mask[97:, 83:].all()
    assert not mask[:97, 83:].any()
    assert not mask[97:, :83].any()


def test_later_scenes_lie_on_top_but_for_their_missing_pixels(
    tmp_path: Path, aerial_crop: Path, write_crop: Callable[..., Path]
) -> None:
    below = write_crop(aerial_crop, tmp_path / "below.tif", 0, 0)
    above = write_crop(aerial_crop, tmp_path / "above.tif", 0, 0)
    with rasterio.open(above, "r+") as dataset:
        values = dataset.read()
        values[:, :40] = 0
        values[:, 40:] = 77
        dataset.write(values)
    index = write_mosaic(Mosaic((str(below), str(above)), 0, None), tmp_path / "m.gti.gpkg")
    with rasterio.open(index) as mosaic, rasterio.open(below) as scene:
        assert mosaic.nodata == 0
        assert np.array_equal(mosaic.read()[:, :40], scene.read()[:, :40])
        assert (mosaic.read()[:, 40:] == 77).all()


def pam(values: dict[int, int]) -> str:
    """Return a .aux.xml that declares nodata values of bands."""
    bands = "".join(
        f'<PAMRasterBand band="{band}"><NoDataValue>{value}</NoDataValue></PAMRasterBand>'
        for band, value in values.items()
    )
    return f"<PAMDataset>{bands}</PAMDataset>"


def test_every_band_keeps_its_own_nodata_value_from_a_sidecar(
    tmp_path: Path, quarters: list[Path], unlisted_folders: None
) -> None:
    for path in quarters:
        Path(f"{path}.aux.xml").write_text(pam({1: 7, 2: 8, 3: 9}))
    index = write_mosaic(Mosaic((str(quarters[0]), str(quarters[3])), None, None), tmp_path / "m.gti.gpkg")
    with rasterio.open(index) as mosaic:
        assert mosaic.nodatavals == (7, 8, 9)
        assert mosaic.read()[:, 0, -1].tolist() == [7, 8, 9]
    for path in quarters:
        Path(f"{path}.aux.xml").write_text(pam({1: 7}))
    with pytest.raises(SourceError, match=r"only 1 of its 3 bands declare a nodata value.*with nodata"):
        write_mosaic(Mosaic((str(quarters[0]), str(quarters[3])), None, None), tmp_path / "n.gti.gpkg")


def test_an_unchanged_index_is_left_alone(tmp_path: Path, quarters: list[Path]) -> None:
    mosaic = Mosaic(tuple(map(str, quarters)), None, None)
    index = write_mosaic(mosaic, tmp_path / "m.gti.gpkg")
    written = index.stat().st_mtime_ns
    assert write_mosaic(mosaic, index).stat().st_mtime_ns == written
    write_mosaic(Mosaic(mosaic.scenes[:3], None, None), index)
    assert index.stat().st_mtime_ns != written


def warped(source: Path, target: Path, crs: str) -> Path:
    with rasterio.open(source) as scene:
        transform, width, height = calculate_default_transform(
            scene.crs, crs, scene.width, scene.height, *scene.bounds
        )
        profile = {"count": 3, "dtype": "uint8", "crs": crs, "transform": transform}
        with rasterio.open(target, "w", driver="GTiff", width=width, height=height, **profile) as out:
            for band in (1, 2, 3):
                reproject(
                    rasterio.band(scene, band), rasterio.band(out, band), resampling=Resampling.bilinear
                )
    return target


def test_a_scene_of_which_nothing_was_known_is_not_a_changed_one(
    tmp_path: Path, quarters: list[Path]
) -> None:
    """A server that is silent once would else change the index, and with it every finished job that reads it."""
    mosaic = Mosaic(tuple(map(str, quarters)), None, None)
    index = write_mosaic(mosaic, tmp_path / "m.gti.gpkg")
    frame, metadata = pyogrio.read_dataframe(index), pyogrio.read_info(index)["layer_metadata"]
    frame.loc[1, "version"] = "None"
    pyogrio.write_dataframe(frame, index, layer="scenes", driver="GPKG", layer_metadata=metadata)
    before = index.read_bytes()
    assert write_mosaic(mosaic, index).read_bytes() == before
    quarters[0].touch()
    assert write_mosaic(mosaic, index).read_bytes() != before


def test_a_scene_in_another_crs_is_refused_or_warped(tmp_path: Path, quarters: list[Path]) -> None:
    other = warped(quarters[1], tmp_path / "other.tif", "EPSG:32613")
    scenes = (str(quarters[0]), str(other))
    with pytest.raises(
        SourceError, match=r"other\.tif: cannot join .* CRS of EPSG:32613, not EPSG:32612; set"
    ):
        write_mosaic(Mosaic(scenes, None, None), tmp_path / "m.gti.gpkg")
    index = write_mosaic(Mosaic(scenes, None, "bilinear"), tmp_path / "m.gti.gpkg")
    with (
        rasterio.open(index) as mosaic,
        rasterio.open(quarters[0]) as first,
        rasterio.open(quarters[1]) as second,
    ):
        assert mosaic.crs == first.crs
        offset = round((mosaic.transform.f - first.transform.f) / first.transform.e)
        ours = mosaic.read(window=((-offset, -offset + 97), (0, 83)))
        assert np.array_equal(ours[:, :, :60], first.read()[:, :, :60])
        theirs = mosaic.read(window=((-offset + 20, -offset + 77), (103, 170)))
        straight = second.read(window=((20, 77), (20, 87)))
        # a pixel beside its place gives 0.6
        assert np.corrcoef(theirs.ravel(), straight.ravel())[0, 1] > 0.8


def change(path: Path, **profile: Any) -> None:
    with rasterio.open(path) as scene:
        values, settings = scene.read(), {**scene.profile, **profile}
    values = values[: settings["count"]].astype(settings["dtype"])
    with rasterio.open(path, "w", **settings) as scene:
        scene.write(values)


REFUSED = {
    "fewer bands": ({"count": 1}, r"bands of 1, not 3"),
    "other values": ({"dtype": "uint16"}, r"type of values of uint16, not uint8"),
    "nodata in one": ({"nodata": 0}, r"nodata value of 0\.0, not None; name the value .* with nodata"),
    "other pixels": (
        {"transform": rasterio.Affine(0.2, 0, 528121, 0, -0.2, 4978871.4)},
        r"pixel size of \(0\.2, 0\.2\)",
    ),
    "off the grid": (
        {"transform": rasterio.Affine(0.1, 0, 528121.03, 0, -0.1, 4978871.4)},
        r"pixel grid of 0\.30, 0\.00 px off",
    ),
    "no georeference": ({"crs": None, "transform": rasterio.Affine.identity()}, r"has no CRS"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_scene_that_does_not_fit_is_refused(what: str, tmp_path: Path, quarters: list[Path]) -> None:
    profile, message = REFUSED[what]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        change(quarters[1], **profile)
    with pytest.raises(SourceError, match=message) as error:
        write_mosaic(Mosaic(tuple(map(str, quarters)), None, None), tmp_path / "m.gti.gpkg")
    assert "quarter_1.tif" in str(error.value)
    assert not (tmp_path / "m.gti.gpkg").exists()


def test_a_scene_that_lies_nowhere_on_earth_is_refused(tmp_path: Path, quarters: list[Path]) -> None:
    """5 degrees north of the pole: its bounds in the CRS of the first scene are no numbers."""
    change(quarters[1], crs="EPSG:4326", transform=rasterio.Affine(1e-6, 0, 15, 0, -1e-6, 95))
    with pytest.raises(
        SourceError, match=r"quarter_1\.tif: its bounds \(15, .*in EPSG:4326\) cannot be given"
    ):
        write_mosaic(Mosaic(tuple(map(str, quarters)), None, "nearest"), tmp_path / "m.gti.gpkg")
    assert not (tmp_path / "m.gti.gpkg").exists()


def test_a_scene_that_breaks_in_the_middle_is_an_error_not_a_hole(
    quarters: list[Path], jobs_file: Callable[..., Path], recorder: Any
) -> None:
    whole = quarters[3].read_bytes()
    quarters[3].write_bytes(whole[: len(whole) // 3])
    path = jobs_file({"name": "joined", "source": "quarter_?.tif", "mosaic": True})
    result = run_batch(read_jobs_file(path), recorder)
    assert [outcome.state for outcome in result.outcomes] == ["failed"]
    assert "cannot be read" in (result.outcomes[0].error or "")
