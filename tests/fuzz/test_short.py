"""A short form of `make fuzz`: some damaged inputs of kinds whose commands are quick, always the same ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
QUICK = "model.json,aoi,truth polygons,class raster,options,safetensors,jobs,nifti"


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has the libraries loaded")
def test_no_damaged_input_gives_a_traceback_or_more_than_one_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "fuzz",
        "--seed",
        "1",
        "--count",
        "12",
        "--seconds",
        "6",
        "--only",
        QUICK,
    ]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 findings" in done.stdout
