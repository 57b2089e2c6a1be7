"""A process that has everything imported, but started no thread and opened no file: what commands are forked from."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

WARM = (
    "torch", "rasterio", "zarr", "geopandas", "pyogrio", "nibabel", "nrrd", "pydicom", "tifffile", "timm", "onnx",
    "segment_tiles.cli.main", "segment_tiles.workflows.run.segment", "segment_tiles.workflows.polygons.polygonize",
    "segment_tiles.workflows.training.evaluate", "segment_tiles.workflows.training.train",
    "segment_tiles.workflows.batch.run", "segment_tiles.workflows.run.describe",
    "segment_tiles.workflows.model_packages.weights_import",
)  # fmt: skip
"""Imported once, before the forks; a module that has moved is left to the command."""


def warm_up(root: Path, *, with_results: bool = True) -> Path:
    """Make the seeds below a folder, import what commands use, and return the folder of the seeds."""
    os.environ.update({"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "XDG_CACHE_HOME": str(root / "cache")})
    seeds = root / "seeds"
    in_a_fork(lambda: _make_seeds(seeds, with_results=with_results))
    for module in WARM:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(module)
    return seeds


def _make_seeds(folder: Path, *, with_results: bool) -> None:
    from fuzz.seeds import make_seeds

    make_seeds(folder, with_results=with_results)


def in_a_fork(work: Callable[[], None]) -> None:
    """Do work that starts threads in a child: a fork of a process with threads would not be whole."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - told to the parent by the status
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        sys.exit("the inputs could not be made")
