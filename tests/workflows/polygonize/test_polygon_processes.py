"""Processes for the polygons of a run: as many as it was given, if each has enough to do."""

from __future__ import annotations

from pathlib import Path

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.stores.store import array_of, create_store, open_store
from segment_tiles.workflows.polygons.polygonize import polygonize
from segment_tiles.workflows.results.formats.format import Work
from segment_tiles.workflows.results.formats.vectors import processes_for

TABLE = ClassTable((MapClass(0, "a", (9, 9, 9)), MapClass(1, "b", (0, 99, 0))))


def work_in(folder: Path, shape: tuple[int, int]) -> Work:
    group = open_store(create_store(folder / "classes.zarr", shape, GeoRef.of_pixels(), TABLE), "r+")
    return Work(folder, group, {}, None, str, workers=3)  # type: ignore[arg-type] # not asked here


def test_as_many_processes_as_the_run_was_given(tmp_path: Path) -> None:
    assert processes_for(work_in(tmp_path / "small", (1300, 1100))) == 1
    assert processes_for(work_in(tmp_path / "large", (8192, 8192))) == 3


def test_a_result_folder_has_no_style_that_polygons_of_its_name_could_take(tmp_path: Path) -> None:
    work = work_in(tmp_path / "result", (9, 9))
    array_of(work.group, "classes")[:] = 1
    report = polygonize(work.folder, [tmp_path / "result.gpkg"])
    assert (tmp_path / "result.qml").is_file()
    assert not any(".qml" in note for note in report.notes)
    # that of the class map beside the store stays
    report = polygonize(work.folder / "classes.zarr", [work.folder / "classes.gpkg"])
    assert not (work.folder / "classes.qml").exists()
    assert any("classes.qml: not written" in note for note in report.notes)
