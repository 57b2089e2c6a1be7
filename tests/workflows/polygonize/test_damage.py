"""Tiles that an interrupted request left, damaged: done again, and no feature is another."""

from __future__ import annotations

import shutil

import pytest

from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons import polygonize as workflow
from segment_tiles.workflows.polygons import traced
from segment_tiles.workflows.polygons.polygonize import polygonize

OPTIONS = PolygonizeOptions(vector_tile=64, sieve=4, simplify=0.0)
KINDS = {
    "tiles": [
        "whole-*.arrow",
        "seams-*.npz",
        "pieces-*.arrow",
        "tile-*.json",
        "joined-*.arrow",
        "joined-*.json",
    ],
    "sieve": ["sieve.zarr/c/*/*"],
    "metadata": ["sieve.zarr/zarr.json", "settings.json"],
}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, class_raster, land_cover):
    """A raster, its polygons, and the folder of tiles as a kill leaves it while the file is written."""
    folder = tmp_path_factory.mktemp("interrupted")
    raster = class_raster(folder / "c.tif", land_cover)
    polygonize(raster, [folder / "p.parquet"], OPTIONS)

    def killed(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(workflow, "write_files", killed)
        with pytest.raises(KeyboardInterrupt):
            polygonize(raster, [folder / "kept.parquet"], OPTIONS)
    return raster, folder / "p.parquet", folder / ".kept.parquet.tiles"


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_tiles_are_done_again(interrupted, tmp_path, damage, kind):
    raster, whole, tiles = interrupted
    out = tmp_path / "p.parquet"
    shutil.copytree(tiles, tmp_path / f".{out.name}.tiles")
    for number, pattern in enumerate(KINDS[kind]):  # each of another tile
        found = sorted((tmp_path / f".{out.name}.tiles").glob(pattern))
        damage(found[min(number, len(found) - 1)])
    polygonize(raster, [out], OPTIONS)
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_tiles_that_hold_are_not_done_again(interrupted, tmp_path, monkeypatch):
    raster, whole, tiles = interrupted
    out = tmp_path / "p.parquet"
    shutil.copytree(tiles, tmp_path / f".{out.name}.tiles")
    for step in ("trace", "join"):
        monkeypatch.setattr(traced.TileWorker, step, None)
    polygonize(raster, [out], OPTIONS)
    assert out.read_bytes() == whole.read_bytes()
