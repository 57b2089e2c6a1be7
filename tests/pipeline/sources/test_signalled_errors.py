"""Errors that GDAL passes over: an index that a server does not give, a member or a scene that is not there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from served_folder import served_folder

from segment_tiles.pipeline.errors import ReadFailedError, SourceError, TrainingError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.label_rasters import RasterLabels
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.sources import patience
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.rasters.raster_file import RasterFile
from segment_tiles.pipeline.sources.rasters.sidecars import reads_remotely
from segment_tiles.pipeline.sources.rasters.signalled_errors import SignalledError, signalled_errors_raised
from segment_tiles.pipeline.vectors.rasters.gdal_class_raster import GdalClassRaster
from segment_tiles.workflows.batch.jobs import Mosaic
from segment_tiles.workflows.batch.sources.mosaic import write_mosaic

FAILED = (SignalledError, rasterio.errors.RasterioIOError)
"""GDAL 3.12 fails of itself where 3.10 only signals: either is a failed read."""

SIDE, TILE = 4096, 16
"""Of a raster whose index of 65,536 tiles has half a megabyte; GDAL fetches its pieces when it needs them."""
SOON = {"GDAL_HTTP_MAX_RETRY": 0}
INNER = Window(1504, 64, 32, 256)
"""Whose part of the index does not come with the opening."""


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rasters whose every pixel is 7: without and with a nodata value."""
    folder = tmp_path_factory.mktemp("served")
    for name, nodata in (("big.tif", None), ("declared.tif", 0)):
        with rasterio.open(
            folder / name, "w", driver="GTiff", width=SIDE, height=SIDE, count=1, dtype="uint8", nodata=nodata,
            tiled=True, blockxsize=TILE, blockysize=TILE, compress="deflate",
            crs="EPSG:32633", transform=rasterio.Affine(1, 0, 1000, 0, -1, 9000),
        ) as dataset:  # fmt: skip
            dataset.write(np.full((1, SIDE, SIDE), 7, dtype=np.uint8))
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served_folder(folder) as address:
        yield address


@pytest.fixture
def server(address: str, folder: Path) -> Iterator[str]:
    _heal(folder)
    yield address
    _heal(folder)


def _heal(folder: Path) -> None:
    (folder / "ill").unlink(missing_ok=True)


def _vrt(path: Path, members: list[str], side: int) -> Path:
    """Write a VRT with members beside each other."""
    sources = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="{int("/" not in name)}">{name}</SourceFilename>'
        f'<SourceBand>1</SourceBand><SourceProperties RasterXSize="{side}" RasterYSize="{side}" DataType="Byte" '
        f'BlockXSize="{TILE}" BlockYSize="{TILE}"/><SrcRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/>'
        f'<DstRect xOff="{number * side}" yOff="0" xSize="{side}" ySize="{side}"/></SimpleSource>'
        for number, name in enumerate(members)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{side * len(members)}" rasterYSize="{side}"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>1000, 1, 0, 9000, 0, -1</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1">{sources}</VRTRasterBand></VRTDataset>'
    )
    return path


def _is_all_seven(source: Any, window: Window) -> bool:
    values = source.read(window)
    return bool((values == 7).all()) and source.valid(window, values) is None


@pytest.mark.parametrize("name", ["big.tif", "declared.tif"])
def test_an_index_that_is_not_given_is_a_failed_read(name: str, server: str, folder: Path) -> None:
    with closing(open_source(f"{server}/{name}?index", settings=SOON)) as source:
        (folder / "ill").touch()
        with pytest.raises(ReadFailedError, match=r"rows 1504 to 1536 cannot be read, tried 5 times"):
            source.read(INNER)
        _heal(folder)
        assert _is_all_seven(source, INNER)


def test_a_full_window_is_never_surely_empty(server: str, folder: Path) -> None:
    source = RasterFile(f"{server}/declared.tif?empty", settings=SOON)
    with closing(source):
        (folder / "ill").touch()
        with pytest.raises(ReadFailedError, match=r"rows 1504 to 1536"):
            source.is_surely_empty(INNER)
        _heal(folder)
        assert not source.is_surely_empty(INNER)
        assert _is_all_seven(source, INNER)


@pytest.mark.usefixtures("pool_in_use")
@pytest.mark.parametrize("is_mosaic", [False, True], ids=["vrt", "mosaic"])
def test_members_behind_a_server(server: str, folder: Path, tmp_path: Path, *, is_mosaic: bool) -> None:
    member = f"{server}/big.tif"
    if is_mosaic:
        index = write_mosaic(Mosaic((member,), None, None), tmp_path / "m.gti.gpkg")
    else:
        index = _vrt(tmp_path / "m.vrt", [f"/vsicurl/{member}?vrt"], SIDE)
    assert reads_remotely(str(index))
    with closing(open_source(str(index), settings=SOON)) as source:
        (folder / "ill").touch()
        with pytest.raises(ReadFailedError, match="tried 5 times"):
            source.read(INNER)
        _heal(folder)
        assert _is_all_seven(source, INNER)


def test_class_rasters_and_labels(server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    url = f"{server}/big.tif?classes"
    with closing(open_source(url)) as opened:
        spec = opened.spec
    classes = GdalClassRaster(url, band=1)
    names = [f"class {number}" for number in range(8)]
    labels = RasterLabels(SceneSettings(name="a", raster=url, labels=url), url, spec, names)
    with closing(classes), closing(labels):
        (folder / "ill").touch()
        with pytest.raises(ReadFailedError, match="rows 1504 to 1536"):
            classes.read(INNER)
        with pytest.raises(TrainingError, match="rows 1504 to 1536"):
            labels.read(INNER)
        _heal(folder)
        with pytest.raises(ReadFailedError, match="rows 1504 to 1536"):
            classes.read(INNER)  # GDAL would give zeros
        with pytest.raises(TrainingError, match="rows 1504 to 1536"):
            labels.read(INNER)


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    _write_halves(tmp_path)
    return tmp_path


def _write_halves(folder: Path) -> None:
    for number, name in enumerate("ab"):
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", width=256, height=256, count=1, dtype="uint8", nodata=0,
            tiled=True, blockxsize=TILE, blockysize=TILE, compress="deflate",
            crs="EPSG:32633", transform=rasterio.Affine(1, 0, 1000 + 256 * number, 0, -1, 9000),
        ) as dataset:  # fmt: skip
            dataset.write(np.full((1, 256, 256), 7, dtype=np.uint8))


def _vrt_of_halves(folder: Path) -> Path:
    return _vrt(folder / "m.vrt", ["a.tif", "b.tif"], 256)


def _mosaic_of_halves(folder: Path) -> Path:
    scenes = tuple(str(folder / name) for name in ("a.tif", "b.tif"))
    return write_mosaic(Mosaic(scenes, None, None), folder / "m.gti.gpkg")


def _gone(path: Path) -> None:
    path.rename(path.with_suffix(".away"))


def _cut(path: Path) -> None:
    path.with_suffix(".away").write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])


def _emptied(path: Path) -> None:
    path.with_suffix(".away").write_bytes(path.read_bytes())
    path.write_bytes(b"")


@pytest.fixture
def pool_in_use(tmp_path: Path) -> Iterator[None]:
    """Another mosaic is open, as in every batch and beside every preview: GDAL keeps what it knows of members."""
    folder = tmp_path / "beside"
    folder.mkdir()
    _write_halves(folder)
    with rasterio.open(_vrt_of_halves(folder)) as beside:
        beside.read()
        yield


def _not_shared(folder: Path) -> Path:
    """Write a VRT whose members GDAL may take from any thread."""
    path = _vrt_of_halves(folder)
    path.write_text(path.read_text().replace("<SourceFilename ", '<SourceFilename shared="0" '))
    return path


@pytest.mark.usefixtures("pool_in_use")
@pytest.mark.parametrize("spoil", [_gone, _cut, _emptied])
@pytest.mark.parametrize("index_of", [_vrt_of_halves, _not_shared, _mosaic_of_halves])
def test_a_member_that_is_gone_is_no_hole_in_any_later_read(
    halves: Path, index_of: Callable[[Path], Path], spoil: Callable[[Path], None]
) -> None:
    index = index_of(halves)
    assert not reads_remotely(str(index))
    with closing(open_source(str(index))) as source:
        member = halves / "b.tif"
        spoil(member)
        for window in (Window(0, 0, 64, 512), Window(8, 100, 64, 400), Window(8, 300, 32, 64)):
            with pytest.raises(ReadFailedError, match="tried 3 times"):
                source.read(window)
        assert _is_all_seven(source, Window(8, 0, 32, 200))  # the other one
        member.with_suffix(".away").replace(member)
        assert _is_all_seven(source, Window(8, 300, 32, 64))
        assert _is_all_seven(source, Window(0, 0, 256, 512))


@pytest.mark.usefixtures("pool_in_use")
def test_a_source_that_cannot_be_opened_again_is_no_hole_either(halves: Path) -> None:
    path = _vrt_of_halves(halves)
    with closing(open_source(str(path))) as source:
        _gone(halves / "b.tif")
        _gone(path)
        for _ in range(2):
            with pytest.raises(ReadFailedError, match="tried 3 times"):
                source.read(Window(0, 0, 64, 512))
        path.with_suffix(".away").rename(path)
        (halves / "b.away").rename(halves / "b.tif")
        assert _is_all_seven(source, Window(0, 0, 64, 512))


@pytest.mark.usefixtures("pool_in_use")
def test_no_setting_of_logging_hides_an_error(halves: Path, caplog: pytest.LogCaptureFixture) -> None:
    index = _mosaic_of_halves(halves)
    _gone(halves / "b.tif")
    logger = logging.getLogger("rasterio._err")
    for hide in (
        lambda: logging.disable(logging.CRITICAL),
        lambda: setattr(logger, "disabled", True),
        lambda: logger.setLevel(logging.CRITICAL),
    ):
        hide()
        try:
            with rasterio.Env(), rasterio.open(index) as dataset:
                with pytest.raises(FAILED) as failed, signalled_errors_raised():
                    dataset.read()
                assert "b.tif" in f"{failed.value} {failed.value.__cause__!r}"
                with signalled_errors_raised():
                    assert (dataset.read(window=((0, 9), (0, 9))) == 7).all()
        finally:
            logging.disable(logging.NOTSET)
            logger.setLevel(logging.NOTSET)
    assert not caplog.records, "nothing is shown that was not shown before"


def test_each_thread_hears_its_own(halves: Path) -> None:
    index = _mosaic_of_halves(halves)
    _gone(halves / "b.tif")
    failed: list[Exception] = []

    def read_what_is_gone() -> None:
        try:
            with rasterio.Env(), rasterio.open(index) as dataset, signalled_errors_raised():
                dataset.read()
        except FAILED as error:
            failed.append(error)

    with signalled_errors_raised():
        thread = threading.Thread(target=read_what_is_gone)
        thread.start()
        thread.join()
    assert len(failed) == 1


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        RasterFile(str(tmp_path / "none.tif"))
