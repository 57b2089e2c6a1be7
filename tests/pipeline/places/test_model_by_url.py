from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from servers.s3_server import on_every_server

import segment_tiles as st
from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import find_model, portable_name
from segment_tiles.pipeline.places.address import place_at


def uploaded(package: Path, url: str) -> str:
    place = place_at(url)
    for file in (package / "model.json", package / "weights.safetensors"):
        place.put(file.name, file.read_bytes())
    return url


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from segment_tiles.cli.start import main; main()", *arguments],
        capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip


@on_every_server
def test_a_run_of_a_model_in_a_bucket_is_that_of_its_folder(
    bucket: Callable[[], str], small_model: Path, tmp_path: Path
) -> None:
    url = uploaded(small_model, f"{bucket()}/models/small")
    values = np.random.default_rng(3).integers(0, 255, (3, 150, 170), np.uint8)
    profile = {
        "driver": "GTiff",
        "width": 170,
        "height": 150,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32633",
    }
    with rasterio.open(
        tmp_path / "scene.tif", "w", **profile, transform=rasterio.Affine(1, 0, 9, 0, -1, 9)
    ) as file:
        file.write(values)
    assert st.load_model(url).classes == ("other", "tree", "water")
    assert str(st.load_model(url)) == url == portable_name(find_model(url))
    for name, model in (("of-folder", str(small_model)), ("of-url", url)):
        st.segment(str(tmp_path / "scene.tif"), model=model, out=tmp_path / name, format=["cog"])
    with (
        rasterio.open(tmp_path / "of-folder" / "classes.tif") as one,
        rasterio.open(tmp_path / "of-url" / "classes.tif") as other,
    ):
        np.testing.assert_array_equal(one.read(), other.read())
        assert len(np.unique(one.read())) > 1


def test_the_command_line_takes_urls(bucket: Callable[[], str], small_model: Path) -> None:
    url = uploaded(small_model, f"{bucket()}/small")
    listed = program("model", "list", url, "--json")
    assert listed.returncode == 0, listed.stderr
    assert url in listed.stdout
    refused = program("model", "inspect", f"{url}-2")
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        f"segment-tiles: error: model {url}-2: holds no model.json; a model package is needed"
    ]


@on_every_server
def test_it_is_read_once_and_again_when_it_changed(bucket: Callable[[], str], small_model: Path) -> None:
    url = uploaded(small_model, f"{bucket()}/small")
    first = find_model(url)
    weights = next(first.glob("*.safetensors"))
    read_at = weights.stat().st_mtime_ns
    assert find_model(url) == first
    assert weights.stat().st_mtime_ns == read_at
    place = place_at(url)
    text = (small_model / "model.json").read_text().replace('"small"', '"other"')
    place.put("model.json", text.encode())
    assert load_manifest(find_model(url)).name == "other"
    assert load_manifest(first).name == "small"


@on_every_server
def test_damage_at_the_url_is_refused_and_not_kept(bucket: Callable[[], str], small_model: Path) -> None:
    url = uploaded(small_model, f"{bucket()}/small")
    place = place_at(url)
    weights = next(small_model.glob("*.safetensors")).name
    data = (small_model / weights).read_bytes()
    for damaged, said in (
        (data[:-1] + bytes([data[-1] ^ 1]), "have checksum"),
        (data[:-1], "ends before byte"),
    ):
        place.put(weights, damaged)
        with pytest.raises(ModelError, match=rf"model {url}.*{said}") as refused:
            find_model(url)
        assert "partial" not in str(refused.value)
    place.delete(weights)
    with pytest.raises(ModelError, match=rf"model {url}: {weights} is not there"):
        find_model(url)
    place.put(weights, data)
    assert load_manifest(find_model(url)).name == "small"


def test_a_model_on_this_disk_by_url_is_its_folder(small_model: Path) -> None:
    assert find_model(f"file://{small_model}") == small_model
    with pytest.raises(ModelError, match=r"model ftp://host/small: ftp:// is not known"):
        find_model("ftp://host/small")
    with pytest.raises(ModelError, match="has a user, a password or a query") as refused:
        find_model("s3://key:hidden@bucket/small")
    assert "hidden" not in str(refused.value)
