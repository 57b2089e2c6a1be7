"""Sources in buckets: a map is of one version, whatever the store calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers.s3_server import on_every_server

from segment_tiles.pipeline.errors import SourceChangedError, SourceError
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.sources.versions.server import remote_version


@on_every_server
def test_a_source_that_is_replaced_while_it_is_mapped_is_noticed(
    bucket: Callable[[], str], run_into: Callable[..., Any], scene: Path, tmp_path: Path
) -> None:
    address = bucket()
    place, name = place_at(address), f"{address}/a b/scene.tif"
    place.put_file("a b/scene.tif", scene)
    asked: list[str] = []

    class Replaces:
        warn = stage = planned = staticmethod(lambda *_: None)

        def tiles(self, computed: int, skipped: int) -> None:
            if not asked:
                place.put("a b/scene.tif", scene.read_bytes() + b"more")
            asked.append("a tile")

    with pytest.raises(SourceChangedError):
        run_into(str(tmp_path / "out"), Replaces(), source=name)
    assert asked


@on_every_server
def test_versions_are_told_by_url_and_by_gdals_name(bucket: Callable[[], str], scene: Path) -> None:
    address = bucket()
    scheme, _, rest = address.partition("://")
    place, names = place_at(address), (f"{address}/scene.tif", f"/vsi{scheme}/{rest}/scene.tif")
    assert [remote_version(name) for name in names] == [None, None]
    place.put_file("scene.tif", scene)
    first, by_gdals_name = (remote_version(name) for name in names)
    assert first == by_gdals_name
    assert first is not None
    assert first["bytes"] == scene.stat().st_size
    place.put("scene.tif", bytes(scene.stat().st_size))
    assert remote_version(names[0]) not in (None, first)


def test_of_a_zarr_its_metadata_have_a_version(bucket: Callable[[], str]) -> None:
    address = bucket()
    place = place_at(address)
    place.put("scene.zarr/zarr.json", b"{}")
    first = remote_version(f"{address}/scene.zarr")
    assert first is not None
    assert first["file"] == "zarr.json"
    place.put("scene.zarr/zarr.json", b'{"a": 1}')
    assert remote_version(f"{address}/scene.zarr") != first


def test_of_a_key_that_rasterio_cuts_the_message_names_the_way_round(
    bucket: Callable[[], str], run_into: Callable[..., Any], scene: Path, tmp_path: Path
) -> None:
    address = bucket()
    place_at(address).put_file("a #1.tif", scene)
    with pytest.raises(SourceError) as refused:
        run_into(str(tmp_path / "out"), source=f"{address}/a #1.tif")
    name = str(refused.value).rpartition("give ")[2]
    assert name == f"/vsis3/{address.partition('//')[2]}/a #1.tif"
    assert not run_into(str(tmp_path / "out"), source=name).failures
