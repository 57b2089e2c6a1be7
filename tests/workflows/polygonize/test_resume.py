"""A killed polygonisation goes on where it was and gives the same bytes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons.polygonize import polygonize

OPTIONS = {"vector_tile": 64, "sieve": 4, "simplify": 0.0}


def test_kill_and_resume(tmp_path, class_raster, land_cover):
    raster = class_raster(tmp_path / "c.tif", np.tile(land_cover, (2, 2)))
    whole = tmp_path / "whole.parquet"
    polygonize(raster, [whole], PolygonizeOptions(**OPTIONS))
    out = tmp_path / "resumed.parquet"
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from segment_tiles.workflows.polygons.polygonize import polygonize\n"
        "from segment_tiles.pipeline.vectors.options import PolygonizeOptions\n"
        f"polygonize(Path(sys.argv[1]), [Path(sys.argv[2])], PolygonizeOptions(**{OPTIONS!r}),\n"
        "           progress=lambda *words: time.sleep(0.1))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(raster), str(out)])
    ledger = tmp_path / ".resumed.parquet.tiles"
    while len(list(ledger.glob("tile-*.json"))) < 5:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    finished = {path: path.stat().st_mtime_ns for path in ledger.glob("tile-*.json")}
    steps = []
    polygonize(raster, [out], PolygonizeOptions(**OPTIONS), progress=lambda *words: steps.append(words))
    traced = [words for words in steps if words[0] == "trace"]
    assert len(traced) == traced[0][2] - len(finished)  # none of the finished tiles was done again
    assert out.read_bytes() == whole.read_bytes()
    assert not ledger.exists()


def test_new_output_replaces_the_old_one_only_when_complete(tmp_path, class_raster, land_cover):
    raster = class_raster(tmp_path / "c.tif", land_cover)
    out = tmp_path / "p.parquet"
    polygonize(raster, [out])
    before = out.read_bytes()

    def stop(step, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        polygonize(raster, [out], PolygonizeOptions(connectivity=8), progress=stop)
    assert out.read_bytes() == before
