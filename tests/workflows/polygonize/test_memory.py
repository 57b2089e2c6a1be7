"""Memory does not grow with the raster."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

PROGRAM = """
import resource, sys
from pathlib import Path
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons.polygonize import polygonize
report = polygonize(Path(sys.argv[1]), [Path(sys.argv[2])], PolygonizeOptions(vector_tile=512))
print(report.features, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_sixteen_times_the_area_needs_the_same_memory(tmp_path, class_raster):
    generator = np.random.default_rng(0)
    fields = [gaussian_filter(generator.standard_normal((1024, 1024)), 6, mode="wrap") for _ in range(5)]
    codes = np.argmax(fields, axis=0).astype(np.uint8)
    peaks, features = [], []
    for repeat in (1, 4):
        raster = class_raster(tmp_path / f"{repeat}.tif", np.tile(codes, (repeat, repeat)))
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(raster), str(tmp_path / f"{repeat}.parquet")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found, peak = map(int, run.stdout.split())
        features.append(found)
        peaks.append(peak)
    assert features[1] > 14 * features[0]
    assert peaks[1] < 1.3 * peaks[0]
