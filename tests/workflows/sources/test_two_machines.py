"""Two machines behind one name have two versions of a file: no map is of both, whatever conditions they know."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from served_folder import served_folder
from two_machines import VERSIONS, Machines, two_machines

from segment_tiles.pipeline.errors import RunFailedError, SourceError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.pipeline.sources import patience
from segment_tiles.pipeline.sources.rasters import held_file
from segment_tiles.pipeline.sources.rasters.raster_file import RasterFile
from segment_tiles.pipeline.sources.versions.version import KnownVersion, known_version, with_guard
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment


class Silent:
    """A listener."""

    def warn(self, text: str) -> None: ...

    def stage(self, name: str) -> None: ...

    def planned(self, plan: Any) -> None: ...

    def tiles(self, computed: int, skipped: int) -> None: ...


BOTH = frozenset({"If-Match", "If-Range"})
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}
SIDES = (128, 320, 832, 2624)
STRIPS = {"tiled": False, "blockysize": 64, "interleave": "band"}


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    with two_machines() as told:
        yield told


def scene(seed: int, side: int, **layout: Any) -> tuple[NDArray[Any], bytes]:
    """Return a raster and its file; the start of the file is the same for any seed, as for any raster of its size."""
    values = np.random.default_rng(seed).integers(1, 255, (3, side, side), dtype=np.uint8)
    with MemoryFile() as file:
        with file.open(
            driver="GTiff", count=3, height=side, width=side, dtype="uint8", crs="EPSG:32633",
            transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000), **(layout or TILED),
        ) as dataset:  # fmt: skip
            dataset.write(values)
        return values, bytes(file.getbuffer())


def served(machines: Machines, name: str, side: int, **layout: Any) -> tuple[str, NDArray[Any]]:
    """Serve two scenes under one name; return the URL and the values of the first."""
    (values, one), (_, other) = (scene(seed, side, **layout) for seed in (1, 2))
    machines.files[f"/{name}"] = one, other
    return f"{machines.address}/{name}", values


def known(machines: Machines, url: str) -> KnownVersion:
    """Return the version of the first machine, and what holds readers to it."""
    found = with_guard(known_version(url))
    assert isinstance(found.before, dict)
    told = {"ETag": "etag", "Last-Modified": "last modified"}[machines.told_by]
    assert found.before[told] == VERSIONS[machines.told_by][0]
    machines.answers.clear()
    return found


def read_twice(found: KnownVersion) -> NDArray[Any]:
    """Read a raster by rows of tiles, from the top and again from the end, so that GDAL's caches forget the start."""
    with (
        found.guard.applied(),
        closing(RasterFile(found.uri, unchanged=found.require_same, cache_mib=1)) as source,
    ):
        spec = source.spec
        windows = [
            Window(row, 0, min(640, spec.height - row), spec.width) for row in range(0, spec.height, 640)
        ]
        first = np.concatenate([source.read(window) for window in windows], axis=1)
        again = np.concatenate([source.read(window) for window in reversed(windows)][::-1], axis=1)
    np.testing.assert_array_equal(first, again)
    return first


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("layout", [TILED, STRIPS], ids=["tiles", "strips"])
@pytest.mark.parametrize("side", SIDES, ids=["50kB", "320kB", "2MB", "20MB"])
@pytest.mark.parametrize(
    ("told_by", "knows"),
    [("ETag", {"If-Match"}), ("ETag", {"If-Range"}), ("ETag", BOTH), ("Last-Modified", {"If-Range"})],
    ids=["If-Match", "If-Range", "both", "date"],
)
def test_what_is_read_is_of_one_version(
    machines: Machines, told_by: str, knows: set[str], side: int, layout: dict[str, Any], is_chunked: bool
) -> None:
    machines.told_by, machines.knows, machines.is_chunked = told_by, frozenset(knows), is_chunked
    url, values = served(machines, "scene.tif", side, **layout)
    found = known(machines, url)
    if side == 2624:  # a read of many ranges, of which each third one fails, never comes to its end
        machines.turn = lambda number: number % 41 == 5
    np.testing.assert_array_equal(read_twice(found), values)
    assert any(is_other for *_, is_other in machines.answers) or len(machines.answers) < 3
    ranges = [asked for method, _, asked, _ in machines.answers if method == "GET" and asked]
    if knows == {"If-Range"}:  # GDAL would take a whole file in place of any that begins at byte 0
        start = found.guard.file.start if found.guard.file else 0
        assert {asked for asked in ranges if asked.startswith("bytes=0-")} <= {f"bytes=0-{start - 1}"}


@pytest.mark.parametrize("side", SIDES[:3], ids=["50kB", "320kB", "2MB"])
def test_a_small_file_is_of_one_version_though_its_server_heeds_no_condition(
    machines: Machines, side: int
) -> None:
    url, values = served(machines, "scene.tif", side)
    np.testing.assert_array_equal(read_twice(known(machines, url)), values)
    assert {asked for method, _, asked, _ in machines.answers if method == "GET"} == {None}


@pytest.mark.parametrize("side", [128, 832, 2624])
def test_a_start_of_the_other_version_is_asked_for_again(machines: Machines, side: int) -> None:
    machines.knows = frozenset({"If-Range"})
    url, values = served(machines, "scene.tif", side)
    found = known(machines, url)
    machines.turn = lambda number: number <= 4
    np.testing.assert_array_equal(read_twice(found), values)
    assert machines.of_other(200) + machines.of_other(206) == 4


def test_a_version_that_is_there_no_more_is_an_error_that_names_the_source(machines: Machines) -> None:
    machines.knows = frozenset({"If-Range"})
    url, _ = served(machines, "scene.tif", 128)
    found = known(machines, url)
    machines.turn = lambda _: True
    with pytest.raises(
        SourceError,
        match=rf"^{url}: its server does not give .*ETag \"1\", tried 5 times: it gave ETag \"2\"",
    ):
        read_twice(found)


def test_what_is_no_raster_is_named_as_the_user_did(machines: Machines) -> None:
    machines.files["/a.tif"] = b"no raster" * 100, b""
    url = f"{machines.address}/a.tif"
    with pytest.raises(SourceError) as raised:
        read_twice(known(machines, url))
    assert str(raised.value).startswith(f"{url}: is not a raster that GDAL can read ('a.tif' not recognized")
    assert "/vsi" not in str(raised.value)


@pytest.mark.parametrize("side", [128, 1280])
def test_an_overview_and_what_a_file_says_of_itself(tmp_path: Path, side: int) -> None:
    (tmp_path / "If-Range").touch()
    path = tmp_path / "scene.tif"
    values = np.random.default_rng(1).integers(1, 255, (1, side, side * 3), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=side, width=side * 3, dtype="uint8", **TILED
    ) as dataset:
        dataset.write(values)
        dataset.build_overviews([2], rasterio.enums.Resampling.nearest)
    with served_folder(tmp_path) as address:
        found = with_guard(known_version(f"{address}/scene.tif"))
        for level in (0, 1):
            told = []
            for uri in (str(path), found.uri):
                with found.guard.applied(), closing(RasterFile(uri, level=level)) as source:
                    told.append((source.spec, source.details | {"sidecars": None}, source.notes))
                    read = source.read(source.spec.window)
                np.testing.assert_array_equal(read, values[:, :: level + 1, :: level + 1])
            assert told[0] == told[1]


def test_memory_is_given_back(machines: Machines) -> None:
    machines.knows = frozenset({"If-Range"})
    for side in (128, 2624):
        url, _ = served(machines, "scene.tif", side)
        with known(machines, url).guard.applied():
            name = held_file.GdalName(url)
            with rasterio.open(name.name) as dataset:
                assert dataset.shape == (side, side)
            name.close()
            with pytest.raises(rasterio.errors.RasterioIOError):
                rasterio.open(name.name)
    assert held_file.held_file(url) is None


def test_a_start_is_fetched_once_in_a_run(machines: Machines) -> None:
    url, _ = served(machines, "scene.tif", 128)
    found = known(machines, url)
    machines.turn = lambda _: False
    for _ in range(2):
        with found.guard.applied():
            for _ in range(2):
                RasterFile(url).close()
        gc.collect()
    assert [method for method, *_ in machines.answers] == ["GET"] * 2


@pytest.mark.parametrize("size", ["1000000", "1MB"])
def test_no_range_begins_at_byte_0_with_a_users_own_chunks(
    monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    assert held_file.start_for_ranges() == 48 * 1024
    monkeypatch.setenv("CPL_VSIL_CURL_CHUNK_SIZE", size)
    with rasterio.Env():
        start = held_file.start_for_ranges()
    chunk = int(size) if size.isdecimal() else held_file.CHUNK_AT_MOST
    assert start // 2**15 * 2**15 // chunk > 0


@pytest.mark.parametrize(
    ("knows", "side", "workers"),
    [
        pytest.param({"If-Match"}, 640, None, id="If-Match"),
        pytest.param({"If-Range"}, 640, None, id="If-Range"),
        pytest.param(set(), 640, None, id="neither"),
        pytest.param({"If-Range"}, 1280, 2, id="If-Range, a large file, workers", marks=pytest.mark.slow),
    ],
)
def test_a_map_is_of_one_version(
    machines: Machines, tmp_path: Path, small_model: Path, knows: set[str], side: int, workers: int | None
) -> None:
    machines.knows = frozenset(knows)
    url, _ = served(machines, "scene.tif", side)
    if workers:
        machines.turn = lambda number: number % 11 == 5
    local = tmp_path / "scene.tif"
    local.write_bytes(machines.files["/scene.tif"][0])
    maps = []
    for source, out in ((str(local), tmp_path / "local"), (url, tmp_path / "remote")):
        request = RunConfig(
            source, str(small_model), out, precision="fp32", device="cpu", tile=64, formats=("zarr",),
            workers=workers if source == url else None, roi=(1000, 1400, 1064, 2000),
        )  # fmt: skip
        result = segment(request, Silent())
        assert result.report["failures"] == []
        maps.append(open_store(out / "classes.zarr")["classes"][:])
    np.testing.assert_array_equal(*maps)
    assert any(is_other for *_, is_other in machines.answers)


def test_a_vrt_behind_a_url_reads_members_that_have_other_etags(tmp_path: Path, small_model: Path) -> None:
    served, out = tmp_path / "served", tmp_path / "out"
    served.mkdir()
    (served / "If-Match").touch()
    (served / "member.tif").write_bytes(scene(1, 128)[1])
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">member.tif'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    (served / "scene").write_text(f'<VRTDataset rasterXSize="128" rasterYSize="128">{bands}</VRTDataset>')
    with served_folder(served) as address:
        request = RunConfig(
            f"{address}/scene",
            str(small_model),
            out,
            precision="fp32",
            device="cpu",
            tile=64,
            formats=("zarr",),
        )
        assert segment(request, Silent()).report["failures"] == []


def test_a_run_whose_version_is_gone_fails(machines: Machines, tmp_path: Path, small_model: Path) -> None:
    machines.knows = frozenset({"If-Range"})
    url, _ = served(machines, "scene.tif", 128)
    machines.turn = lambda number: number > 3
    request = RunConfig(
        url, str(small_model), tmp_path / "out", precision="fp32", device="cpu", tile=64, formats=("zarr",)
    )
    with pytest.raises((SourceError, RunFailedError), match='it gave ETag "2"'):
        segment(request, Silent())
    assert not (tmp_path / "out" / "item.json").exists()
