"""Sidecars: found for local rasters whatever the environment says, not looked for on a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.rasters.sidecars import LISTING, is_remote, listing_setting
from segment_tiles.pipeline.sources.versions.version import source_version


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A GeoTIFF without georeference, with a world file and a CRS in .aux.xml."""
    path = tmp_path / "picture.tif"
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="GTiff", count=1, height=20, width=30, dtype="uint8") as dataset,
    ):
        dataset.write(np.ones((1, 20, 30), np.uint8))
    path.with_suffix(".tfw").write_text("2\n0\n0\n-2\n500001\n3999999\n")
    Path(f"{path}.aux.xml").write_text("<PAMDataset><SRS>EPSG:32633</SRS></PAMDataset>")
    return path


def test_sidecars_are_read_whatever_the_environment_says(picture: Path, unlisted_folders: None) -> None:
    source = open_source(str(picture))
    assert source.spec.georef.transform == (2.0, 0.0, 500000.0, 0.0, -2.0, 4000000.0)
    assert source.spec.georef.crs is not None
    assert source.spec.georef.crs.to_epsg() == 32633
    source.close()


@pytest.mark.parametrize(
    "uri",
    ["https://host/a.tif", "s3://bucket/a.tif", "/vsicurl/https://host/a.tif", "/vsizip//vsis3/b/a.zip/a.tif",
     "zip+https://host/a.zip!a.tif", "/vsicurl?url=https%3A%2F%2Fhost", "vrt:///vsigs/b/a.tif"],
)  # fmt: skip
def test_no_bucket_is_listed(uri: str) -> None:
    assert is_remote(uri)
    assert listing_setting(uri) == {LISTING: "EMPTY_DIR"}


@pytest.mark.parametrize(
    "uri", ["a.tif", "/vsizip/a.zip/a.tif", "file:///a.tif", "NETCDF:a.nc:b", "https/a.tif"]
)
def test_local_folders_are_listed(uri: str) -> None:
    assert listing_setting(uri) == {LISTING: "FALSE"}


def test_a_local_index_of_remote_rasters_lists_no_bucket(tmp_path: Path) -> None:
    index = tmp_path / "a.vrt"
    index.write_text("<SourceFilename>/vsis3/bucket/a.tif</SourceFilename>")
    assert listing_setting(str(index)) == {LISTING: "TRUE"}
    index.write_text("<SourceFilename>a.tif</SourceFilename>")
    assert listing_setting(str(index)) == {LISTING: "FALSE"}


def test_a_changed_sidecar_is_another_source(picture: Path) -> None:
    before = source_version(str(picture))
    picture.with_suffix(".tfw").write_text("2\n0\n0\n-2\n500001\n3999999.25\n")
    assert source_version(str(picture)) != before
