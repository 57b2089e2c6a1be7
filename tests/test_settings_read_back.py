"""What the program sets in GDAL, OpenMP, Dask, Prefect and the rest, read back from each library."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import yaml
from affine import Affine
from distributed import Scheduler, Worker

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.gdal_environment import gdal_environment
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.patience import HTTP_SETTINGS
from segment_tiles.pipeline.sources.rasters import raster_file
from segment_tiles.pipeline.sources.rasters.block_cache import DEFAULT_MIB, block_cache_of_mib
from segment_tiles.pipeline.sources.rasters.raster_file import RasterFile
from segment_tiles.pipeline.vectors.rasters.gdal_class_raster import CACHE_MIB, GdalClassRaster
from segment_tiles.workflows.executors.dask_cluster.dask_settings import SETTINGS, dask_settings
from segment_tiles.workflows.executors.dask_cluster.local_workers import threads_of_worker
from segment_tiles.workflows.plans.memory_plan import read_cache_bytes

MIB = 2**20
BLOCK, HEIGHT, WIDTH = 256, 1024, 2500


class Gdal:
    """The GDAL library that rasterio has loaded, asked in C."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.GDALGetCacheMax64.restype = ctypes.c_int64
        self._library.GDALGetCacheUsed64.restype = ctypes.c_int64
        self._library.CPLGetConfigOption.restype = ctypes.c_char_p

    @property
    def limit(self) -> int:
        """Bytes that the cache of blocks may hold."""
        return int(self._library.GDALGetCacheMax64())

    @property
    def used(self) -> int:
        """Bytes that it holds."""
        return int(self._library.GDALGetCacheUsed64())

    def option(self, name: str) -> str:
        """Return a configuration option as GDAL has it, in this thread."""
        return bytes(self._library.CPLGetConfigOption(name.encode(), b"unset")).decode()


@pytest.fixture(scope="module")
def gdal() -> Gdal:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux tells where the libraries of a process are")
    found = sorted(
        {line.split()[-1] for line in maps.read_text().splitlines() if "rasterio.libs/libgdal" in line}
    )
    if not found:
        pytest.skip("this rasterio was not built as a wheel with a GDAL of its own")
    return Gdal(found[0])


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raster in blocks of 256, its bands between each other."""
    path = tmp_path_factory.mktemp("settings") / "tiled.tif"
    values = np.random.default_rng(0).integers(0, 255, (3, HEIGHT, WIDTH), np.uint8)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": 3,
        "height": HEIGHT,
        "width": WIDTH,
        "dtype": "uint8",
    }
    place = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 0, 0, -0.5, 0)}
    blocks = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "interleave": "pixel"}
    with rasterio.open(path, "w", **profile, **place, **blocks, compress="deflate") as dataset:
        dataset.write(values)
    return path


class Spied:
    """A dataset of rasterio that notes GDAL's limit whenever it is read."""

    def __init__(self, dataset: Any, gdal: Gdal) -> None:
        self._dataset, self._gdal = dataset, gdal
        self.limits: list[int] = []
        self.is_read = False

    def read(self, *words: Any, **options: Any) -> Any:
        self.is_read = True
        self.limits.append(self._gdal.limit)
        return self._dataset.read(*words, **options)

    def __enter__(self) -> Spied:
        return self

    def __exit__(self, *_error: object) -> None:
        self._dataset.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)


@pytest.fixture
def spied(gdal: Gdal, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Spied]]:
    """Every dataset that is opened, with what GDAL's limit was at the time and at each read."""
    opened: list[Spied] = []
    real = rasterio.open

    def spy(*words: Any, **options: Any) -> Spied:
        opened.append(Spied(real(*words, **options), gdal))
        opened[-1].limits.append(gdal.limit)
        return opened[-1]

    copy = rasterio.shutil.copy

    def copy_unwrapped(dataset: Any, *words: Any, **options: Any) -> Any:
        return copy(getattr(dataset, "_dataset", dataset), *words, **options)

    monkeypatch.setattr(rasterio, "open", spy)
    monkeypatch.setattr(rasterio.shutil, "copy", copy_unwrapped)
    yield opened
    for dataset in opened:
        dataset.close()


@pytest.mark.parametrize("mebibytes", [DEFAULT_MIB, 7, 5000])
def test_gdal_holds_mebibytes_when_told_mebibytes(mebibytes: int, gdal: Gdal) -> None:
    before = gdal.limit
    with block_cache_of_mib(mebibytes):
        assert gdal.limit == mebibytes * MIB
    assert gdal.limit == before


def test_every_reader_of_rasters_sets_the_limit_that_it_means(
    tiled: Path, spied: list[Spied], gdal: Gdal
) -> None:
    before = gdal.limit
    window = Window(0, 0, 40, WIDTH)
    for options in ({}, {"cache_mib": 11}):
        source = open_source(str(tiled), **options)
        source.read(window)
        source.close()
    classes = GdalClassRaster(tiled, 1)
    classes.read(window)
    classes.close()
    assert [dataset.limits for dataset in spied if dataset.is_read and dataset.name == str(tiled)] == [
        [limit * MIB] * 2 for limit in (DEFAULT_MIB, 11, CACHE_MIB)
    ], "at opening and at reading"
    with gdal_environment():
        assert gdal.limit == DEFAULT_MIB * MIB
    assert gdal.limit == before


def test_the_plan_counts_the_cache_that_a_worker_then_has(tiled: Path, spied: list[Spied]) -> None:
    probe = RasterFile(str(tiled))
    planned = read_cache_bytes(probe.spec, WIDTH)
    probe.close()
    source = open_source(str(tiled), cache_mib=planned // MIB)
    source.read(Window(0, 0, BLOCK, WIDTH))
    source.close()
    assert spied[-1].limits == [planned, planned]


def test_rows_of_blocks_stay_decoded(tiled: Path, gdal: Gdal) -> None:
    source = open_source(str(tiled))
    before = gdal.used
    source.read(Window(0, 0, 40, WIDTH))
    held = gdal.used - before
    source.close()
    across = -(-WIDTH // BLOCK)
    assert across * BLOCK * BLOCK * 3 <= held <= across * BLOCK * BLOCK * 3 * 1.1


def test_the_cache_of_a_raster_whose_bands_lie_between_each_other_holds_them_all(
    tiled: Path, gdal: Gdal
) -> None:
    source = RasterFile(str(tiled), bands=[2])
    before = gdal.used
    source.read(Window(0, 0, BLOCK, WIDTH))
    held = gdal.used - before
    assert source.spec.cached_bytes == 3
    assert held >= 3 * BLOCK * WIDTH, "GDAL keeps the bands that were decoded with the one that was asked for"
    source.close()


def test_a_thread_that_ends_first_does_not_lift_the_limit_of_another(gdal: Gdal) -> None:
    before = gdal.limit
    inside, left = threading.Event(), threading.Event()

    def first() -> None:
        with rasterio.Env(), block_cache_of_mib(5):
            inside.wait(10)
        left.set()

    thread = threading.Thread(target=first)
    thread.start()
    with rasterio.Env(), block_cache_of_mib(9):
        inside.set()
        assert left.wait(10)
        assert gdal.limit == 9 * MIB
    thread.join()
    assert gdal.limit == before


OF_READS = {**raster_file.GDAL_SETTINGS, **HTTP_SETTINGS}


@pytest.mark.parametrize("name", sorted(OF_READS))
def test_settings_of_reads_are_what_gdal_has(
    name: str, tiled: Path, gdal: Gdal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(name, raising=False)
    source = RasterFile(str(tiled))
    with source._environment():
        found = gdal.option(name)
    source.close()
    wanted = OF_READS[name]
    truth = {True: {"ON", "YES", "TRUE", "1"}, False: {"OFF", "NO", "FALSE", "0"}}
    # GDAL's CPLTestBool: anything but these is true
    assert found.upper() in truth[wanted] if isinstance(wanted, bool) else found == str(wanted)


def in_a_process(code: str, **environment: str) -> list[str]:
    """Return the words that a new process of Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_settings_of_dask_are_what_dask_has() -> None:
    with dask_settings():
        for name, wanted in SETTINGS.items():
            missing = object()
            found = dask.config.get(name, missing)
            assert found == wanted, name

        async def started() -> tuple[object, ...]:
            async with (
                Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler,
                Worker(
                    scheduler.address, host="127.0.0.1", nthreads=1, memory_limit="1GB", dashboard=False
                ) as worker,
            ):
                memory = worker.memory_manager
                return (
                    scheduler.allowed_failures,
                    memory.memory_target_fraction, memory.memory_spill_fraction, memory.memory_pause_fraction,
                    scheduler.periodic_callbacks["monitor"].callback_time,
                )  # fmt: skip

        found = asyncio.run(started())
    assert found[:4] == (SETTINGS["distributed.scheduler.allowed-failures"], False, False, False)
    assert found[4] == 2000, "milliseconds"


def test_names_of_dask_settings_are_known_to_dask() -> None:
    known = dask.config.collect()
    for name in SETTINGS:
        if ".pre-spawn-environ." not in name:
            assert (
                dask.config.get(name, config=dask.config.merge(known, distributed_defaults())) is not None
            ), name


def distributed_defaults() -> dict[str, Any]:
    """Return what distributed itself sets: a name that is not there would be heard by nobody."""
    path = Path(distributed.__file__).with_name("distributed.yaml")
    return dict(yaml.safe_load(path.read_text()))


def test_threads_of_a_worker_are_those_of_its_torch() -> None:
    words = threads_of_worker(2)
    found = in_a_process("import torch; print(torch.get_num_threads())", **words)
    assert found == [words["OMP_NUM_THREADS"]]


@pytest.mark.slow
def test_settings_of_prefect_are_what_prefect_has(tmp_path: Path) -> None:
    pytest.importorskip("prefect")
    code = (
        "import segment_tiles.workflows.batch.schedule\n"
        "from prefect.settings import get_current_settings\n"
        "server = get_current_settings().server\n"
        "print(server.ephemeral.startup_timeout_seconds, server.analytics_enabled)"
    )
    assert in_a_process(code, PREFECT_HOME=str(tmp_path)) == ["300", "False"]


def test_freed_memory_is_kept_by_the_allocator() -> None:
    """Blocks of 30 MiB come from the heap and not from a mapping of their own, which glibc tells by `mallinfo2`."""
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("not glibc 2.33 or newer")
    code = (
        "import ctypes\n"
        "from segment_tiles.workflows.process_memory import keep_freed_memory\n"
        "libc = ctypes.CDLL(None)\n"
        "class Info(ctypes.Structure):\n"
        "    names = 'arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost'.split()\n"
        "    _fields_ = [(name, ctypes.c_size_t) for name in names]\n"
        "libc.mallinfo2.restype, libc.malloc.restype = Info, ctypes.c_void_p\n"
        "assert keep_freed_memory()\n"
        "before = libc.mallinfo2().hblks\n"
        "block = libc.malloc(ctypes.c_size_t(30 * 2**20))\n"
        "print(libc.mallinfo2().hblks - before)"
    )
    assert in_a_process(code) == ["0"]


def test_threads_share_two_arenas(tmp_path: Path) -> None:
    """glibc tells by `malloc_info`: eight threads that take memory at the same time would make eight."""
    if not hasattr(ctypes.CDLL(None), "malloc_info"):
        pytest.skip("not glibc")
    code = (
        "import ctypes, sys, threading\n"
        "from segment_tiles.workflows.process_memory import share_arenas\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p\n"
        "assert share_arenas()\n"
        "together = threading.Barrier(8)\n"
        "def take():\n    together.wait(); libc.malloc(ctypes.c_size_t(1000)); together.wait()\n"
        "threads = [threading.Thread(target=take) for _ in range(8)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b'w'))\n"
        "libc.malloc_info(0, file); libc.fclose(file)\n"
        "print(open(sys.argv[1]).read().count('<heap nr='))"
    ).replace("sys.argv[1]", repr(str(tmp_path / "arenas.xml")))
    assert int(in_a_process(code)[0]) <= 2


def test_arrow_allocates_by_the_c_library() -> None:
    code = (
        "import sys\n"
        "from segment_tiles.cli import main\n"
        "sys.argv = ['segment-tiles', '--version']\n"
        "try:\n    main.main()\nexcept SystemExit:\n    pass\n"
        "import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    )
    assert in_a_process(code)[-1] == "system"


def test_what_users_set_for_http_in_the_environment_stands(
    tiled: Path, gdal: Gdal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "77")
    source = RasterFile(str(tiled))
    with source._environment():
        assert gdal.option("GDAL_HTTP_LOW_SPEED_TIME") == "77"
        assert gdal.option("GDAL_HTTP_CONNECTTIMEOUT") == str(HTTP_SETTINGS["GDAL_HTTP_CONNECTTIMEOUT"])
    source.close()
