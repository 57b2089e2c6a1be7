"""Options of polygons at `run`, `batch` and `export`: the polygons are those of `polygonize` of the class map."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import pytest
import yaml

from segment_tiles.cli.main import run_command_line
from segment_tiles.workflows.options.polygons import polygonize_config_from
from segment_tiles.workflows.polygons.request import polygonize_as_asked

Run = Callable[..., Path]
ASKED: dict[str, dict[str, Any]] = {
    "small ones go": {"sieve": "12px", "min-hole": "9px", "min-area": 60, "classes": "tree,water"},
    "smooth": {"majority": 3, "simplify": "2px", "background": "other"},
    "corners": {"connectivity": 8, "right-angles": ["tree"]},
}


def polygonized(folder: Path, out: Path, options: dict[str, Any]) -> bytes:
    """Return the GeoParquet file that `polygonize` makes of the class map of a run."""
    keywords = {name.replace("-", "_"): value for name, value in options.items()}
    polygonize_as_asked(polygonize_config_from(raster=str(folder), out=[out], **keywords))
    return out.read_bytes()


def keywords_of(options: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("-", "_"): value for name, value in options.items()}


@pytest.mark.parametrize("case", ASKED)
def test_a_run_and_an_export_give_the_bytes_of_polygonize(
    case: str, scored: Path, run_blobs: Run, tmp_path: Path
) -> None:
    wanted = polygonized(scored, tmp_path / "alone" / "polygons.parquet", ASKED[case])
    made = run_blobs(tmp_path / "run", format="parquet", **keywords_of(ASKED[case]))
    assert (made / "polygons.parquet").read_bytes() == wanted
    words = [f"--{name}={','.join(v) if isinstance(v, list) else v}" for name, v in ASKED[case].items()]
    assert run_command_line(["export", str(scored), "--format", "parquet,gpkg", *words]) == 0
    assert (scored / "polygons.parquet").read_bytes() == wanted
    whole = geopandas.read_parquet(scored / "polygons.parquet")
    assert len(whole) == len(geopandas.read_file(scored / "polygons.gpkg", layer="polygons")) > 0


def test_polygons_are_made_again_if_asked_for_otherwise_and_else_kept(run_blobs: Run, tmp_path: Path) -> None:
    out = run_blobs(tmp_path / "run", format="cog,parquet")
    whole, codes = (out / "polygons.parquet").read_bytes(), (out / "classes.tif").stat().st_mtime_ns
    assert "made_with" not in json.loads((out / "report.json").read_text())
    run_blobs(out, format="cog,parquet", min_area="60px")
    fewer = (out / "polygons.parquet").read_bytes()
    assert len(geopandas.read_parquet(out / "polygons.parquet")) > 0
    assert fewer != whole
    report = json.loads((out / "report.json").read_text())
    assert report["made_with"] == {"parquet": {"min-area": "60px"}}
    made = (out / "polygons.parquet").stat().st_mtime_ns
    run_blobs(out, format="cog,parquet", min_area="60px")
    assert (out / "polygons.parquet").stat().st_mtime_ns == made
    assert (out / "classes.tif").stat().st_mtime_ns == codes
    run_blobs(out, format="cog,parquet")
    assert (out / "polygons.parquet").read_bytes() == whole
    assert "made_with" not in json.loads((out / "report.json").read_text())


def test_a_run_killed_between_its_books_and_its_polygons_makes_them(
    run_blobs: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segment_tiles.workflows.results.formats import make  # noqa: PLC0415

    out = run_blobs(tmp_path / "run", format="parquet")
    whole = (out / "polygons.parquet").read_bytes()

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(make, "take_up_tiles", dies)
        with pytest.raises(KeyboardInterrupt):
            run_blobs(out, format="parquet", min_area="60px")
    assert not (out / "polygons.parquet").exists()
    run_blobs(out, format="parquet")
    assert (out / "polygons.parquet").read_bytes() == whole


def test_a_batch_takes_them_from_its_file(
    blob_scene: Path, small_model: Path, scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(blob_scene, tmp_path / "scene.tif")
    settings = {"model": str(small_model), "precision": "fp32", "device": "cpu", "preview": False}
    document = {
        "defaults": {
            **settings,
            "format": ["parquet"],
            **ASKED["small ones go"],
            "classes": ["tree", "water"],
        },
        "jobs": [{"source": "scene.tif"}],
    }
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump(document))
    assert run_command_line(["batch", str(tmp_path / "jobs.yaml"), "--quiet"]) == 0
    wanted = polygonized(scored, tmp_path / "alone" / "polygons.parquet", ASKED["small ones go"])
    assert (tmp_path / "jobs-results/scene/polygons.parquet").read_bytes() == wanted
    document["defaults"]["sieve"] = "many"
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump(document))
    assert run_command_line(["batch", str(tmp_path / "jobs.yaml"), "--dry-run"]) == 2
    assert "--sieve: 'many' is not an area such as 25px" in capsys.readouterr().err
