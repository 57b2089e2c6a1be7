"""How often a run looks at its source and its weights before the first tile: counted in a real run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.sources.kinds import kind_of
from segment_tiles.pipeline.sources.versions.read_files import read_files

RUN = """
import collections, hashlib, json, sys
from pathlib import Path
import openslide, rasterio
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.sources.rasters import placement
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment

source, model, out = sys.argv[1:]
seen = collections.Counter()
at = {}

def counted(name, real, is_meant):
    def call(first, *others, **options):
        seen[name] += is_meant(first)
        return real(first, *others, **options)
    return call

rasterio.open = counted("opened", rasterio.open, lambda file: str(file) == source)
asked = openslide.OpenSlide.detect_format
openslide.OpenSlide.detect_format = staticmethod(counted("offered to OpenSlide", asked, lambda file: True))
is_weights = lambda file: Path(file.name).name == "weights.safetensors"
hashlib.file_digest = counted("weights hashed", hashlib.file_digest, is_weights)
placement.orientation_of = counted("asked for its orientation", placement.orientation_of, lambda file: True)
scores = Segmenter.scores

def first_scores(self, *arguments):
    at.setdefault("first tile", dict(seen))
    return scores(self, *arguments)

Segmenter.scores = first_scores

class Listener:
    def warn(self, text): pass
    def stage(self, name): pass
    def planned(self, plan): pass
    def tiles(self, computed, skipped): at.setdefault("first tile of the map", dict(seen))

settings = dict(precision="fp32", backend="torch", batch=1, device="cpu", formats=("zarr", "cog"))
segment(RunConfig(source, model, Path(out), **settings), Listener())
print(json.dumps({**at, "end": dict(seen)}))
"""


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A GeoTIFF in a folder of its own, tiled as a scanner's would be."""
    (tmp_path / "scene").mkdir()
    path = tmp_path / "scene" / "a.tif"
    values = np.random.default_rng(0).integers(0, 255, (3, 90, 130), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=130, height=90, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(0.1, 0, 1000, 0, -0.1, 2000), tiled=True, blockxsize=64, blockysize=64,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


@pytest.mark.parametrize("has_pixel_size", [False, True])
def test_a_plain_geotiff_is_looked_at_once_and_its_weights_are_hashed_once(
    plain: Path, small_model: Path, tmp_path: Path, has_pixel_size: bool
) -> None:
    """By a model without a pixel size, and by one that asks the raster for its own."""
    pytest.importorskip("openslide")
    model = tmp_path / "model"
    shutil.copytree(find_model("canopy-rgb") if has_pixel_size else small_model, model)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(plain), str(model), str(tmp_path / "out")],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen: dict[str, dict[str, Any]] = json.loads(done.stdout)
    # once for its facts, once for the probe, whose tile is the first
    assert seen["first tile"]["opened"] <= 2
    # the Region has a handle of its own, as on any worker
    assert seen["first tile of the map"]["opened"] <= 3
    assert seen["first tile"]["asked for its orientation"] == 1
    assert "offered to OpenSlide" not in seen["end"]
    assert seen["end"]["weights hashed"] == 1


def test_weights_that_change_are_hashed_again(small_model: Path, tmp_path: Path) -> None:
    from segment_tiles.pipeline.models.packages.checksum import checksum_of_weights, sha256_of_file  # noqa: PLC0415

    path = tmp_path / "weights.safetensors"
    content = bytearray((small_model / "weights.safetensors").read_bytes())
    path.write_bytes(content)
    before, status = checksum_of_weights(path), path.stat()
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert checksum_of_weights(path) == sha256_of_file(path) != before


def test_a_tiff_with_a_place_is_a_raster_and_one_without_is_looked_at_closely(plain: Path) -> None:
    assert kind_of(str(plain)) == "raster"
    values = np.zeros((1, 64, 64), np.uint8)
    bare = plain.with_name("bare.tif")
    with rasterio.open(
        bare, "w", driver="GTiff", width=64, height=64, count=1, dtype="uint8", tiled=True,
        blockxsize=16, blockysize=16,
    ) as dataset:  # fmt: skip
        dataset.write(values)
        dataset.update_tags(
            TIFFTAG_XRESOLUTION="40000", TIFFTAG_YRESOLUTION="40000", TIFFTAG_RESOLUTIONUNIT="3"
        )
    assert kind_of(str(bare)) == "slide", "0.25 micrometres by its resolution tags"


def test_a_raster_beside_what_may_be_its_metadata_is_shown_to_gdal(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = rasterio.open

    def counting(name: str, *arguments: Any, **options: Any) -> Any:
        opened.append(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(rasterio, "open", counting)
    plain.with_name("other.tif").write_bytes(b"II*\0")
    plain.with_name("results").mkdir()
    assert read_files(str(plain)) == [plain]
    assert not opened
    metadata = plain.with_name("METADATA.DIM")
    metadata.write_text("")
    assert read_files(str(plain)) == [plain, metadata], "of SPOT, says GDAL"
    assert opened[:1] == [str(plain)]
