"""The command line answers quickly, because nothing heavy is imported to do so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "rasterio", "zarr", "dask", "geopandas", "timm", "monai", "matplotlib", "pyarrow")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["model", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from segment_tiles.cli.main import run_command_line;"
        f"status = run_command_line({words!r}); print(sorted(sys.modules), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = eval(done.stderr)
    assert not [name for name in HEAVY if name in loaded]
    assert done.stdout


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_that_wait_spin_for_microseconds_unless_the_user_says_otherwise(
    given: dict[str, str], expected: str
) -> None:
    code = (
        "import os, sys; from segment_tiles.cli.main import prepare_process;"
        "prepare_process([]); print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    kept = {
        name: value for name, value in os.environ.items() if name not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=kept | given
    )
    assert done.stdout == f"{expected} False\n"
