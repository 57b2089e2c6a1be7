"""Parts of a batch: together they do every job once, and the array script of Slurm runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.batch.part import Part, parse_part

SCRIPT = Path(__file__).resolve().parents[3] / "workflows" / "deploy" / "slurm-array.sh"


@given(st.integers(0, 50), st.integers(1, 12))
def test_parts_are_a_partition(jobs: int, count: int) -> None:
    numbers = list(range(jobs))
    parts = [Part(index, count).of(numbers) for index in range(1, count + 1)]  # type: ignore[arg-type]
    assert sorted(number for part in parts for number in part) == numbers
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "-1/3", "1/0"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="give which part of how many, such as 3/8"):
        parse_part(text)


@pytest.mark.slow
def test_the_array_script_of_slurm_does_every_job_once(
    tmp_path: Path, aerial_crop: Path, jobs_file: Callable[..., Path], write_crop: Callable[..., Path]
) -> None:
    for number in range(3):
        write_crop(aerial_crop, tmp_path / f"crop_{number}.tif", 0, 100 * number)
    path = jobs_file({"source": "crop_?.tif"})
    program = tmp_path / "bin" / "segment-tiles"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from segment_tiles.cli.main import main; main()" "$@"\n'
    )
    (tmp_path / "bin" / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    for file in (tmp_path / "bin").iterdir():
        file.chmod(0o755)
    for task in ("1", "2"):
        environment = {
            **os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": "2",
        }  # fmt: skip
        subprocess.run(["bash", str(SCRIPT), str(path)], env=environment, check=True, capture_output=True)
        assert not (tmp_path / "jobs-results" / "jobs.parquet").exists()
        done = {"1": {"crop_0", "crop_2"}, "2": {"crop_0", "crop_1", "crop_2"}}[task]
        assert {folder.name for folder in (tmp_path / "jobs-results").iterdir()} == done
    assert run_command_line(["batch", str(path)]) == 0
    rows = pq.read_table(tmp_path / "jobs-results" / "jobs.parquet").to_pylist()
    assert [row["state"] for row in rows] == ["skipped"] * 3
