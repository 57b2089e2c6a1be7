"""Formats that are made at the same time: the same files as one by one, and a failure of one stops no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.stores.store import array_of, create_store
from segment_tiles.workflows.results.formats.format import Work
from segment_tiles.workflows.results.formats.make import make_formats
from segment_tiles.workflows.results.formats.vectors import processes_for

TABLE = ClassTable((MapClass(0, "a", (9, 9, 9)), MapClass(1, "b", (0, 99, 0))))
REPORT: dict[str, Any] = {
    "classes": [{"pixels": 7}, {"pixels": 8}],
    "tiles": {"planned": 4},
}
FILES = ("classes.tif", "classes.tif.aux.xml", "polygons.parquet")


def work_in(folder: Path, shape: tuple[int, int] = (1300, 1100), **changes: Any) -> Work:
    """A class map of blots on two times two vector tiles."""
    group = create_store(folder / "classes.zarr", shape, GeoRef.of_pixels(), TABLE)
    if shape[0] < 2000:
        coarse = np.random.default_rng(0).integers(0, 2, (-(-shape[0] // 20), -(-shape[1] // 20)), np.uint8)
        array_of(group, "classes")[:] = coarse.repeat(20, 0).repeat(20, 1)[: shape[0], : shape[1]]
    settings: dict[str, Any] = {
        "report": REPORT, "subject": None, "stage": str, **changes
    }  # fmt: skip
    return Work(folder, group, **settings)


def test_the_files_are_the_same(tmp_path: Path) -> None:
    stages: list[str] = []
    together = work_in(tmp_path / "together", stage=stages.append)
    make_formats(together, ["zarr", "cog", "parquet"])
    assert stages == ["classes.tif", "polygons"]
    apart = work_in(tmp_path / "apart")
    for name in ("cog", "parquet"):
        make_formats(apart, [name])
    for file in FILES:
        assert (together.folder / file).read_bytes() == (apart.folder / file).read_bytes(), file


def test_a_failure_stops_no_other(tmp_path: Path) -> None:
    work = work_in(tmp_path / "out", report=REPORT | {"classes": [{"a report without pixels": 0}]})
    with pytest.raises(KeyError, match="pixels"):
        make_formats(work, ["cog", "parquet"])
    assert not (work.folder / "classes.tif").exists()
    assert (work.folder / "polygons.parquet").is_file()


def test_as_many_processes_as_the_run_was_given(tmp_path: Path) -> None:
    small, large = work_in(tmp_path / "a", workers=3), work_in(tmp_path / "b", (8192, 8192), workers=3)
    assert processes_for(small) == 1
    assert processes_for(large) == 3
