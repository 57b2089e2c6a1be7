"""Libraries write nothing of their own on a terminal, and filters of warnings are the same in every thread."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio

import segment_tiles.cli
import segment_tiles.pipeline
import segment_tiles.workflows
from segment_tiles.pipeline import library_messages
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.library_messages import filter_warnings, ignored_warnings, recorded_warnings
from segment_tiles.pipeline.sources.rasters import raster_file
from segment_tiles.pipeline.sources.rasters.raster_file import RasterFile

SAY = """
import logging, sys, warnings
from segment_tiles.pipeline.library_messages import silence_libraries
silence_libraries()
warnings.warn("a warning")
logging.getLogger("rasterio._env").warning("a record that no handler wants")
log = logging.getLogger("nibabel.global")
log.addHandler(logging.StreamHandler())
log.warning("a record for a handler of its own")
"""


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_only_one_module_changes_filters_for_a_moment() -> None:
    """Python keeps them for the process: two threads that change and restore them leave those of one."""
    packages = (segment_tiles.pipeline, segment_tiles.workflows, segment_tiles.cli)
    files = [path for package in packages for path in Path(str(package.__file__)).parent.rglob("*.py")]
    users = {path.name for path in files if "catch_warnings" in path.read_text(encoding="utf-8")}
    assert users == {"library_messages.py"}


def test_reading_leaves_the_filters_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    with rasterio.open(path, "w", driver="PNG", width=9, height=9, count=1, dtype="uint8") as dataset:
        dataset.write(np.ones((1, 9, 9), np.uint8))
    before, seen = list(warnings.filters), []
    real = rasterio.open

    def watching(*words: Any, **named: Any) -> Any:
        seen.append(list(warnings.filters))
        return real(*words, **named)

    monkeypatch.setattr(raster_file.rasterio, "open", watching)
    RasterFile(str(path)).read(Window(0, 0, 9, 9))
    assert seen
    assert all(filters == before for filters in seen)


def test_recording_takes_turns() -> None:
    """Every thread gets what was said inside, and afterwards the filters are what they were."""
    before, found = list(warnings.filters), {}

    def record(number: int) -> None:
        for _ in range(30):
            with recorded_warnings() as said:
                warnings.warn(f"{number}", UserWarning, stacklevel=1)
                warnings.warn("Dataset has no geotransform, gcps, or rpcs.", UserWarning, stacklevel=1)
            found.setdefault(number, []).extend(str(entry.message) for entry in said)

    threads = [threading.Thread(target=record, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [f"{number}"] * 30 for number in range(6)}
    with ignored_warnings():
        warnings.warn("advice to authors", UserWarning, stacklevel=1)
    assert list(warnings.filters) == before


def test_what_is_never_said_is_filtered_once() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        filter_warnings()
        warnings.warn(
            "Glyph 21335 (CJK UNIFIED IDEOGRAPH-5357) missing from font(s) DejaVu Sans.", stacklevel=1
        )
        warnings.warn("something else", stacklevel=1)
    assert [str(entry.message) for entry in said] == ["something else"]
    code = "import warnings, segment_tiles.pipeline; print([f[1].pattern for f in warnings.filters if f[1]])"
    assert all(pattern in python("-c", code).stdout for pattern in library_messages.NEVER_SAID)


def test_nothing_of_libraries_reaches_the_terminal_unless_asked_for() -> None:
    assert python("-c", SAY).stderr == ""
    assert "a warning" in python("-W", "default", "-c", SAY).stderr
    assert "a warning" in python("-c", SAY, PYTHONWARNINGS="default").stderr


def test_a_header_that_nibabel_repairs(tmp_path: Path) -> None:
    """nibabel logs `pixdim[1,2,3] should be non-zero; setting 0 dims to 1` by a handler of its own."""
    path = tmp_path / "scan.nii"
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4))
    image.set_qform(np.eye(4), 1)
    nibabel.save(image, path)
    content = bytearray(path.read_bytes())
    content[76:84] = bytes(8)  # pixdim[0], which is qfac, and pixdim[1]
    path.write_bytes(content)
    done = python("-c", "from segment_tiles.cli.main import main; main()", "info", str(path))
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("segment-tiles: ") for line in done.stderr.splitlines())
