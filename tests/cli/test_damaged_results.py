"""A result whose description was changed, given to the commands that read results: one line, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from pyproj import CRS

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.stores.store import ATTRIBUTE, create_store
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.run.taken_up import give_store_its_name, is_store_kept

TABLE = ClassTable((MapClass(0, "ground", (0, 0, 0)), MapClass(1, "tree", (0, 99, 0))))


def set_to(value: object, *path: object) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_to(None, ATTRIBUTE),
        set_to(7, ATTRIBUTE, "classes"),
        set_to("x", ATTRIBUTE, "classes", 0),
        set_to([1], ATTRIBUTE, "classes", 0, "color"),
        set_to("many", ATTRIBUTE, "georef"),
        set_to([1, "a"], ATTRIBUTE, "georef", "transform"),
        set_to([1e400] * 6, ATTRIBUTE, "georef", "transform"),
        set_to({}, ATTRIBUTE, "georef"),
    ],
)
def test_changed_attributes_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], change: Callable[[Any], None]
) -> None:
    store = tmp_path / "classes.zarr"
    create_store(store, (20, 20), GeoRef.of_pixels(), TABLE)
    path = store / "zarr.json"
    document = json.loads(path.read_text())
    change(document["attributes"])
    path.write_text(json.dumps(document))
    assert run_command_line(["polygonize", str(store), "--out", str(tmp_path / "p.gpkg"), "--quiet"]) == 2
    assert run_command_line(["evaluate", str(store), str(store)]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 2
    assert "was not foreseen" not in said
    assert "damaged" in said or "without the attribute" in said


@pytest.mark.parametrize(
    "change", [set_to("x", "shape"), set_to([0, 1], "data_type"), set_to(None, "codecs")]
)
def test_a_changed_array_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], change: Callable[[Any], None]
) -> None:
    store = tmp_path / "classes.zarr"
    create_store(store, (20, 20), GeoRef.of_pixels(), TABLE)
    path = store / "classes" / "zarr.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    assert run_command_line(["polygonize", str(store), "--out", str(tmp_path / "p.gpkg"), "--quiet"]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "was not foreseen" not in said


def test_metadata_of_a_finished_store_that_were_changed_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = OutputDirectory(tmp_path / "out")
    georef = GeoRef.from_affine(Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000), CRS.from_epsg(32612).to_wkt())
    create_store(directory.store_in_work, (20, 20), georef, TABLE)
    give_store_its_name(directory)
    assert is_store_kept(directory, sizes_only=True)
    path = directory.store / "zarr.json"
    before = path.read_text()
    changed = before.replace("0.5", "0.7")
    assert changed != before
    path.write_text(changed)
    assert not is_store_kept(directory, sizes_only=True)
    for name in (directory.path, directory.store):
        assert run_command_line(["polygonize", str(name), "--out", str(tmp_path / "p.gpkg"), "--quiet"]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 2
    assert said.count("lost, cut or changed since the run wrote it; start the same run again") == 2
    assert not (tmp_path / "p.gpkg").exists()
