"""A short form of `make faults`: some disturbances of a command that is quick, always the same ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
QUICK = "SIGKILL of the group,SIGTERM,SIGINT,few descriptors,files of few bytes,rights removed,three at once"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has the libraries loaded")
def test_a_disturbed_command_says_so_and_is_taken_up_to_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faults", "--seed", "1", "--kills", "3", "--seconds", "6"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [*command, "--only", "polygonize,run", "--what", QUICK],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "; 0 with a fault" in done.stdout
