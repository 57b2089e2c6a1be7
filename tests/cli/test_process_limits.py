"""Limits of open files and of memory that are too low for any command."""

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


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS keeps no limit of the address space")
def test_too_little_memory_is_refused_before_a_thread_waits_for_ever() -> None:
    start = START.replace("RLIMIT_NOFILE, tuple(map(int, sys.argv[1:3])", "RLIMIT_AS, (4 * 10**8, 4 * 10**8")
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("2 ")
    assert done.stderr.startswith(
        "segment-tiles: error: this process may have 0.4 GB of memory addresses, of which 0."
    )
    assert "`ulimit -v unlimited`" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_in_the_words_of_libraries(error: Exception) -> None:
    assert "too little memory free" in unforeseen.describe_unforeseen(error, [])


def test_libraries_that_say_it_in_words_alone() -> None:
    error = RuntimeError("unable to open file </a> in read-only mode: Too many open files (24)")
    assert "ulimit -n 1024" in unforeseen.describe_unforeseen(error, [])
