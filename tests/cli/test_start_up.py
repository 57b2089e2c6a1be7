"""The command line answers quickly, because nothing heavy is imported to do so."""

from __future__ import annotations

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
