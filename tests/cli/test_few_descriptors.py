"""A limit of open files that is too low for any command."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from segment_tiles.pipeline import unforeseen

START = (
    "import resource, sys; from segment_tiles.cli.main import run_command_line;"
    "resource.setrlimit(resource.RLIMIT_NOFILE, tuple(map(int, sys.argv[1:3])));"
    "status = run_command_line(['doctor', '--help']);"
    "print(status, resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
)


@pytest.mark.parametrize("limit", [3, 20, 80, 127])
def test_too_few_open_files_are_refused_before_anything_is_opened(limit: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, str(limit), str(limit)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"2 {limit}\n"
    assert done.stderr == (
        f"segment-tiles: error: this process may open {limit} files at a time; 128 are needed: raise the limit with "
        "`ulimit -n 1024` and start again\n"
    )


def test_a_low_limit_that_may_be_raised_is_raised() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    done = subprocess.run(
        [sys.executable, "-c", START, "30", str(hard)], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("0 128\n")


def test_libraries_that_say_it_in_words_alone() -> None:
    error = RuntimeError("unable to open file </a> in read-only mode: Too many open files (24)")
    assert "ulimit -n 1024" in unforeseen.describe_unforeseen(error, [])
