"""Values of another raster under objects: those of NumPy over the pixels of each, for every tiling."""

import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SourceChangedError
from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.tile_ledger import TileLedger
from segment_tiles.workflows.polygons import polygonize as workflow
from segment_tiles.workflows.polygons.polygonize import polygonize

RULES = (ObjectRule("1", "2", 3),)
PLACE = (0.5, 0, 500_000, 0, -0.5, 4_000_000)


@pytest.fixture(scope="module")
def made(class_raster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class map of 60 x 70 pixels, and two bands to measure, one with nodata and one with NaN."""
    folder = tmp_path_factory.mktemp("measured")
    ys, xs = np.mgrid[:60, :70]
    codes = np.zeros((60, 70), np.uint8)
    for y, x in [(15, 15), (16, 31), (40, 40), (41, 55), (58, 10)]:
        distance = np.hypot(ys - y, xs - x)
        codes[(distance <= 9) & (codes == 0)] = 2
        codes[distance <= 6] = 1
    class_raster(folder / "classes.tif", codes)
    values = np.random.default_rng(1).normal(100, 30, (2, 60, 70)).astype(np.float32)
    values[0, 10:16, 10:20] = -1
    values[1, 45:, :] = np.nan
    with rasterio.open(
        folder / "source.tif", "w", driver="GTiff", count=2, height=60, width=70, dtype="float32", nodata=-1,
        crs="EPSG:32612", transform=rasterio.Affine(*PLACE),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return folder


def test_values_under_objects_are_those_of_numpy(made: Path, tmp_path: Path) -> None:
    files = []
    for side in (100, 13, 29):
        out = tmp_path / f"{side}.parquet"
        options = PolygonizeOptions(objects=RULES, vector_tile=side, measure=made / "source.tif")
        polygonize(made / "classes.tif", [out, tmp_path / f"{side}.labels.tif"], options)
        files.append(out.read_bytes())
    assert files[0] == files[1] == files[2]
    with rasterio.open(made / "source.tif") as dataset:
        values = dataset.read().astype(np.float64)
    with rasterio.open(tmp_path / "100.labels.tif") as dataset:
        labels = dataset.read(1)
    rows = pq.read_table(tmp_path / "100.parquet").to_pylist()
    measured = [row for row in rows if row["object"] is not None]
    assert len(measured) == labels.max() == 5
    for row in measured:
        for band, here in enumerate(values, 1):
            under = here[(labels == row["object"]) & np.isfinite(here) & (here != -1)]
            found = [row[f"band{band}_{name}"] for name in ("mean", "std", "q05", "q25", "q50", "q75", "q95")]
            if not len(under):
                assert found == [None] * 7
                continue
            expected = [under.mean(), under.std(), *np.quantile(under, [0.05, 0.25, 0.5, 0.75, 0.95])]
            assert found == pytest.approx(expected, rel=1e-12)
    assert any(row["band2_mean"] is None for row in measured), "one lies in what is NaN"
    (area,) = [row for row in rows if row["object"] is None]
    assert area["band1_mean"] is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"height": 59}, "has 59 x 70 pixels, the class map 60 x 70; give a raster on the grid of the map"),
        ({"transform": rasterio.Affine(0.5, 0, 500_001, 0, -0.5, 4_000_000)}, "lies elsewhere .* by 2 pixels"),
        ({"crs": "EPSG:32633"}, "has another CRS than the class map, WGS 84 / UTM zone 12N"),
        ({"dtype": "complex64"}, "has bands of complex64; numbers are needed"),
        (None, "cannot be read"),
    ],
)  # fmt: skip
def test_a_raster_that_does_not_fit_is_refused(
    change: dict | None, told: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source = tmp_path / "other.tif"
    if change is not None:
        place = {"crs": "EPSG:32612", "transform": rasterio.Affine(*PLACE), "height": 60, "dtype": "uint8"}
        with rasterio.open(source, "w", driver="GTiff", count=1, width=70, **{**place, **change}):
            pass
    words = ["--objects", "1:2:3", "--measure", str(source), "--out", str(tmp_path / "a.parquet")]
    assert run_command_line(["polygonize", str(made / "classes.tif"), *words]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert re.search(told, error), error


def test_measures_need_objects(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["--measure", str(made / "source.tif"), "--out", str(tmp_path / "a.parquet")]
    assert run_command_line(["polygonize", str(made / "classes.tif"), *words]) == 2
    assert "is of objects, and no class has any; name one by --objects" in capsys.readouterr().err


def test_values_of_areas_are_not_held(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    kept = TileLedger.finish_tile

    def finish_tile(ledger: TileLedger, *args: Any) -> None:
        held.extend(len(band.values) for band in args[4])
        kept(ledger, *args)

    monkeypatch.setattr(TileLedger, "finish_tile", finish_tile)
    options = PolygonizeOptions(objects=RULES, vector_tile=29, measure=made / "source.tif")
    polygonize(made / "classes.tif", [tmp_path / "a.parquet"], options)
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    objects = sum(row["pixels"] for row in rows if row["object"] is not None)
    assert 0 < sum(held[::2]) <= objects < 60 * 70 / 2, "the area around them crosses seams too"


def test_scale_and_offset_count_and_a_missing_position_is_told(made: Path, tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.parquet", tmp_path / "packed.parquet"
    source = tmp_path / "packed.tif"
    shutil.copy(made / "source.tif", source)
    with rasterio.open(source, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.5, 1), (0, 7)
    for out, raster in ((plain, made / "source.tif"), (packed, source)):
        options = PolygonizeOptions(objects=RULES, measure=raster)
        found = polygonize(made / "classes.tif", [out], options)
        assert not [note for note in found.notes if "--measure" in note]
    before, after = (pq.read_table(out).to_pandas() for out in (plain, packed))
    np.testing.assert_allclose(after["band1_q25"], before["band1_q25"] / 2)
    np.testing.assert_allclose(after["band2_mean"], before["band2_mean"] + 7)
    for missing, place in (
        ("position", {}),
        ("CRS", {"transform": rasterio.Affine(*PLACE)}),
    ):
        bare = tmp_path / f"{missing}.tif"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                bare, "w", driver="GTiff", count=1, height=60, width=70, dtype="uint8", **place
            ):
                pass
        report = polygonize(
            made / "classes.tif", [plain], PolygonizeOptions(objects=RULES, measure=bare), restart=True
        )
        assert [note for note in report.notes if f"{bare.name} has no {missing}" in note], report.notes


def test_a_measured_raster_that_changes_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(shutil.copy(made / "source.tif", tmp_path / "source.tif"))
    traced = workflow.traced

    def changing(*args: Any) -> Any:
        result = traced(*args)
        source.write_bytes(source.read_bytes() + b"more")
        return result

    monkeypatch.setattr(workflow, "traced", changing)
    with pytest.raises(SourceChangedError):
        polygonize(
            made / "classes.tif", [tmp_path / "a.parquet"], PolygonizeOptions(objects=RULES, measure=source)
        )
    assert not (tmp_path / "a.parquet").exists()
