"""`Result`: maps, polygons and report of a finished run, and what a notebook shows of it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import rasterio

import segment_tiles as st
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store
from segment_tiles.workflows.demo import DEMOS

pytest.importorskip("rioxarray")


class Tags(HTMLParser):
    """Collects the text of cells, and pictures; every tag that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.pictures: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
            return
        self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] += data


def test_maps_have_place_and_names(run_folder: Path, scene: Path) -> None:
    result = st.open_result(run_folder)
    group = open_store(run_folder / "classes.zarr")
    assert result.classes.chunks is not None  # lazy
    assert (result.classes.values == array_of(group, "classes")[:]).all()
    assert (result.confidence.values == array_of(group, "confidence")[:]).all()
    assert result.classes.attrs["flag_meanings"] == "other tree water"
    with rasterio.open(scene) as source:
        for array in (result.classes, result.confidence):
            assert array.rio.crs == source.crs
            assert array.rio.transform() == source.transform
            assert array.rio.bounds() == source.bounds
    assert result.report["model"]["name"] == "small"


def test_polygons_have_the_areas_of_the_report(run_folder: Path) -> None:
    result = st.open_result(str(run_folder))
    polygons = result.polygons()
    assert polygons.crs.to_epsg() == 32612
    counted = polygons.groupby("class_name")["pixels"].sum()
    assert {entry["name"]: entry["pixels"] for entry in result.report["classes"]} == counted.to_dict()


def test_a_notebook_shows_preview_classes_and_areas(run_folder: Path) -> None:
    result = st.open_result(run_folder)
    shown = Tags(result._repr_html_())
    assert len(shown.pictures) == 1
    assert shown.pictures[0].startswith("data:image/png;base64,iVBOR")
    for entry in result.report["classes"]:
        at = shown.cells.index(entry["name"])
        assert shown.cells[at + 1] == f"{entry['pixels']:,}"
        assert shown.cells[at + 3] == f"{entry['area']:,.1f}"
    assert "nodata" in shown.cells


def test_names_in_a_notebook_are_text(run_folder: Path, tmp_path: Path) -> None:
    report = dict(st.open_result(run_folder).report)
    report["classes"] = [{**entry, "name": f"<b>{entry['name']}"} for entry in report["classes"]]
    shown = Tags(st.Result(run_folder, report)._repr_html_())
    assert "<b>tree" in shown.cells


def test_a_result_of_a_volume(grey_model: Path, tmp_path: Path) -> None:
    options = {"roi": "-20,-20,-4,20,20,4", "precision": "fp32", "device": "cpu", "backend": "torch"}
    result = st.segment(DEMOS["brain"].sample, model=grey_model, out=tmp_path / "map", **options)  # type: ignore[arg-type]
    assert result.classes.dims == ("slice", "row", "column")
    matrix = np.reshape(result.classes.attrs["slice_row_column_to_ras_mm"], (4, 4))
    assert np.abs(np.linalg.det(matrix)) == pytest.approx(1)  # voxels of 1 mm
    assert "volume, ml" in result._repr_html_()
    with pytest.raises(st.OutputError, match="no file of polygons; make one with: segment-tiles export"):
        result.polygons()


def test_folders_without_a_finished_run_are_refused(tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(st.OutputError, match=r"no report\.json of a run that can be read"):
        st.open_result(tmp_path)
    report = (run_folder / "report.json").read_text().replace('"complete"', '"incomplete"')
    (tmp_path / "report.json").write_text(report)
    with pytest.raises(st.OutputError, match="not complete; start it again"):
        st.open_result(tmp_path)


def test_a_source_that_is_an_array_is_told_where_to_go(small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"numpy\.ndarray; .* segment_tiles\.segment_array"):
        st.segment(np.zeros((3, 5, 5)), model=small_model, out=tmp_path / "map")  # type: ignore[arg-type]
