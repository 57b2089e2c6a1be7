"""All scenes of a batch in one file of polygons, and in one of footprints: what each scene has, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pystac
import pytest
import rasterio
import shapely
import yaml
from pyproj import Transformer

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import UsageError, VectorError
from segment_tiles.pipeline.vectors.files.merged import write_merged
from segment_tiles.workflows.batch.jobs import list_jobs
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.layers.wanted import Layers
from segment_tiles.workflows.batch.layers.write import write_layers
from segment_tiles.workflows.batch.outcome import JobOutcome
from segment_tiles.workflows.batch.planning import check_jobs

UTM, NEXT = "EPSG:32633", "EPSG:32634"


def write_scene(path: Path, crs: str | None, x: float, seed: int) -> None:
    coarse = np.random.default_rng(seed).integers(1, 255, (3, 9, 11), dtype=np.uint8)
    values = coarse.repeat(10, 1).repeat(10, 2)
    values[:, :20, :15] = 0
    place = {} if crs is None else {"crs": crs, "transform": rasterio.Affine(5, 0, x, 0, -5, 5_000_000)}
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=90, width=110, dtype="uint8", nodata=0, **place
    ) as file:
        file.write(values)


@pytest.fixture
def jobs(tmp_path: Path, small_model: Path) -> Callable[..., Path]:
    """Writes scenes a and b, the second in the CRS that is said, and a jobs file of them."""

    def write(second: str | None = UTM, scenes: int = 2, of_b: Any = None, **document: Any) -> Path:
        write_scene(tmp_path / "a.tif", UTM, 500_000, 1)
        write_scene(tmp_path / "b.tif", second, 300_000 if second == NEXT else 600_000, 2)
        defaults = {
            "model": str(small_model), "precision": "fp32", "device": "cpu", "preview": False,
            "format": ["parquet"], **document.pop("defaults", {}),
        }  # fmt: skip
        listed = [{"source": name} for name in ("a.tif", "b.tif", "gone.tif")[:scenes]]
        listed[1] |= of_b or {}
        path = tmp_path / "jobs.yaml"
        path.write_text(yaml.safe_dump({**document, "defaults": defaults, "jobs": listed}))
        return path

    return write


def batch(path: Path) -> int:
    return run_command_line(["batch", str(path), "--quiet"])


def own(folder: Path, name: str) -> geopandas.GeoDataFrame:
    return geopandas.read_parquet(folder / f"jobs-results/{name}/polygons.parquet")


def test_one_file_has_the_features_of_all_scenes(jobs: Callable[..., Path], tmp_path: Path) -> None:
    assert batch(jobs(merged="all.parquet", footprints="outlines.gpkg")) == 0
    results = tmp_path / "jobs-results"
    merged = geopandas.read_parquet(results / "all.parquet")
    assert merged.crs == UTM
    assert list(dict.fromkeys(merged["scene"])) == ["jobs-results/a", "jobs-results/b"]
    for name in ("a", "b"):
        part = merged[merged["scene"] == f"jobs-results/{name}"].drop(columns="scene").reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.DataFrame(part.to_wkb()), pd.DataFrame(own(tmp_path, name).to_wkb()))
    metadata = pq.read_metadata(results / "all.parquet")
    geo = json.loads(metadata.metadata[b"geo"])
    assert geo["columns"]["geometry"]["bbox"] == [*merged.total_bounds]
    assert metadata.num_row_groups == 2
    assert (results / "all.qml").read_text().count("<category ") == merged["class_code"].nunique()
    collection = pystac.Collection.from_file(str(results / "collection.json"))
    assert {"all", "outlines"} <= collection.assets.keys()

    outlines = geopandas.read_file(results / "outlines.gpkg")
    assert pyogrio.list_layers(results / "outlines.gpkg")[0][0] == "footprints"
    table = pd.read_csv(results / "jobs.csv")
    assert outlines.crs == "EPSG:4326"
    assert outlines["scene"].tolist() == table["job"].tolist()
    assert outlines["status"].tolist() == ["done", "done"]
    for column in ("area tree", "pixels water", "area nodata"):
        assert np.allclose(outlines[column], table[column])
    move = Transformer.from_crs(UTM, 4326, always_xy=True)
    for name, outline in zip("ab", outlines.geometry, strict=True):
        with rasterio.open(tmp_path / f"{name}.tif") as scene:
            corners = shapely.box(*scene.bounds).segmentize(50)
        assert (
            shapely.transform(corners, move.transform, interleaved=False).hausdorff_distance(outline) < 1e-6
        )
    # again: nothing is computed, and the bytes stay
    before = (results / "all.parquet").read_bytes()
    assert batch(tmp_path / "jobs.yaml") == 0
    assert (results / "all.parquet").read_bytes() == before


def test_damaged_results_of_one_scene_stop_no_other(
    jobs: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, results = jobs(merged="all.parquet", footprints="outlines.gpkg"), tmp_path / "jobs-results"
    assert batch(path) == 0
    file = results / "b/polygons.parquet"
    file.write_bytes(file.read_bytes()[:-40] + b"x" * 40)
    capsys.readouterr()
    assert batch(path) == 1
    assert "jobs-results/b" in capsys.readouterr().err
    assert set(geopandas.read_parquet(results / "all.parquet")["scene"]) == {"jobs-results/a"}
    outlines = geopandas.read_file(results / "outlines.gpkg")
    assert outlines["status"][1] == "failed"
    assert "polygons.parquet" in outlines["error"][1]
    assert [outline is None or outline.is_empty for outline in outlines.geometry] == [False, True]
    assert "failed" in (results / "jobs.csv").read_text().splitlines()[2]
    # a store that is found to be damaged when all scenes are done
    store = results / "b/classes.zarr/zarr.json"
    store.write_text(store.read_text()[:-40])
    done = [JobOutcome(job, "done") for job in list_jobs(read_jobs_file(path))]
    _, outcomes = write_layers(Layers(footprints=results / "outlines.gpkg"), done)
    assert [outcome.state for outcome in outcomes] == ["done", "failed"]
    assert "classes.zarr" in str(outcomes[1].error)
    again = geopandas.read_file(results / "outlines.gpkg")
    assert [outline is None or outline.is_empty for outline in again.geometry] == [False, True]


@pytest.mark.parametrize("target", ["EPSG:3035", "EPSG:4326"])
def test_scenes_of_several_crs_are_brought_into_one(
    target: str, jobs: Callable[..., Path], tmp_path: Path
) -> None:
    settings = {"merged": "all.parquet", "merged-crs": target, "footprints": "outlines.parquet"}
    assert batch(jobs(NEXT, scenes=3, **settings)) == 1  # the third is not there
    merged = geopandas.read_parquet(tmp_path / "jobs-results/all.parquet")
    assert merged.crs == target
    assert merged.geometry.is_valid.all()
    for name, crs in (("a", UTM), ("b", NEXT)):
        mine, part = own(tmp_path, name), merged[merged["scene"] == f"jobs-results/{name}"]
        assert part["id"].tolist() == mine["id"].tolist()
        assert np.allclose(part["area_m2"], mine["area_m2"])
        move = Transformer.from_crs(crs, target, always_xy=True)
        expected = shapely.transform(np.asarray(mine.geometry), move.transform, interleaved=False)
        assert shapely.hausdorff_distance(expected, np.asarray(part.geometry)).max() < 1e-6
    boxes = (
        pq.read_table(tmp_path / "jobs-results/all.parquet", columns=["bbox"])["bbox"]
        .combine_chunks()
        .flatten()
    )
    assert np.array_equal(
        np.column_stack([side.to_numpy() for side in boxes]), shapely.bounds(merged.geometry)
    )
    outlines = geopandas.read_parquet(tmp_path / "jobs-results/outlines.parquet")
    assert outlines["status"].tolist() == ["done", "done", "failed"]
    assert outlines.geometry.isna().tolist() == [False, False, True]
    assert "gone.tif" in outlines["error"].iloc[2]


def test_scenes_that_differ_may_have_polygons_of_one_crs(jobs: Callable[..., Path], tmp_path: Path) -> None:
    settings = {"merged": "all.parquet", "footprints": "F.GEOJSON", "of_b": {"crs": UTM}}
    assert batch(jobs(NEXT, **settings)) == 0
    results = tmp_path / "jobs-results"
    merged = geopandas.read_parquet(results / "all.parquet")
    assert merged.crs == UTM == own(tmp_path, "b").crs
    for name in ("a", "b"):
        part = merged[merged["scene"] == f"jobs-results/{name}"]
        assert np.array_equal(part.total_bounds, own(tmp_path, name).total_bounds)
    outlines = json.loads((results / "F.GEOJSON").read_text())
    assert outlines["name"] == "footprints"
    assert len(outlines["features"]) == 2
    collection = json.loads((results / "collection.json").read_text())
    assert collection["assets"]["F"]["type"] == "application/geo+json"
    # a batch of which no scene is there leaves nothing of this one
    jobs(NEXT, scenes=2, merged="all.parquet", footprints="F.PARQUET")
    for name in ("a", "b"):
        (tmp_path / f"{name}.tif").unlink()
        shutil.rmtree(results / name)
    assert (results / "all.qml").exists()
    assert batch(tmp_path / "jobs.yaml") == 1
    assert not (results / "all.parquet").exists()
    assert not (results / "all.qml").exists()
    assert geopandas.read_parquet(results / "F.PARQUET").geometry.isna().all()


def test_a_style_of_an_earlier_file_is_removed_if_scenes_no_longer_agree(
    jobs: Callable[..., Path], tmp_path: Path
) -> None:
    assert batch(jobs(merged="all.parquet")) == 0
    results = tmp_path / "jobs-results"
    assert (results / "all.qml").exists()
    (tmp_path / "swapped.yaml").write_text("tree: {from: water, code: 1}\nwater: {from: tree, code: 2}")
    path = jobs(merged="all.parquet", of_b={"reclass": "swapped.yaml"})
    assert run_command_line(["batch", str(path), "--quiet", "--restart"]) == 0
    assert not (results / "all.qml").exists()
    (results / "all.qml").write_text("<qgis/>")  # saved in QGIS
    assert batch(path) == 0
    assert (results / "all.qml").read_text() == "<qgis/>"


def test_polygons_without_a_crs_are_not_mixed_with_others(jobs: Callable[..., Path], tmp_path: Path) -> None:
    assert batch(jobs(None)) == 0
    files = [(name, tmp_path / f"jobs-results/{name}/polygons.parquet") for name in ("a", "b")]
    for order, words in (
        (files, "b: its polygons are in no CRS"),
        (files[::-1], "a: its polygons are in WGS 84"),
    ):
        with pytest.raises(VectorError, match=words):
            write_merged(tmp_path / "all.parquet", order, None)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "several CRS": (
        {"second": NEXT, "merged": "a.parquet"},
        r"line 10: merged: jobs-results/b is in .*34N, jobs-results/a in .*33N; say by merged-crs",
    ),
    "no CRS": (
        {"second": None, "merged": "a.parquet", "merged-crs": UTM}, r"merged: jobs-results/b has no CRS, so",
    ),
    "no polygons": (
        {"merged": "a.parquet", "defaults": {"format": ["cog"]}},
        r"of jobs-results/a are in no GeoParquet file; add parquet",
    ),
    "by class": (
        {"merged": "a.parquet", "defaults": {"split-by-class": True}},
        r"one file for each class; .*without split-by-class",
    ),
    "another ending": ({"merged": "a.gpkg"}, r"merged is 'a.gpkg': give a file that ends in .parquet"),
    "another ending of footprints": ({"footprints": "a.shp"}, r"footprints is 'a.shp': give a file that ends in"),
    "a CRS that is none": ({"merged": "a.parquet", "merged-crs": "EPSG:1"}, r"merged-crs is 'EPSG:1': give a CRS"),
    "one file for both": (
        {"merged": "a.parquet", "footprints": "A.PARQUET"}, r"merged and footprints are both called a; give one",
    ),
    "the polygons of a scene": (
        {"merged": "a/polygons.parquet"}, r"merged: polygons.parquet lies in jobs-results/a, the output of a job",
    ),
    "footprints in a scene": (
        {"footprints": "../jobs-results/b/new/f.gpkg"}, r"footprints: f.gpkg lies in jobs-results/b, the output",
    ),
    "the table": ({"footprints": "jobs.parquet"}, r"footprints: jobs.parquet is a file of the batch itself; give"),
    "the area of interest": (
        {"footprints": "../aoi.geojson", "defaults": {"aoi": "aoi.geojson"}}, r"aoi.geojson is read by the batch",
    ),
    "several CRS of the polygons": (
        {"merged": "a.parquet", "of_b": {"crs": NEXT}},
        r"merged: jobs-results/b is in .*34N, jobs-results/a in .*33N; say by merged-crs",
    ),
    "a CRS of nothing": ({"merged-crs": UTM}, r"merged-crs belongs to merged, which this file has not"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_one_file_is_refused_before_a_scene_is_computed(
    case: str, jobs: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, words = REFUSED[case]
    path = jobs(**document)
    before = sorted(tmp_path.rglob("*"))
    for words_of_command in (["batch", str(path)], ["batch", str(path), "--dry-run"]):
        assert run_command_line(words_of_command) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
        assert len(lines) == 1
        assert re.search(words, lines[0]), lines
    with pytest.raises(UsageError, match=words):
        check_jobs(read_jobs_file(path))
    assert sorted(tmp_path.rglob("*")) == before
