"""Files whose end is missing are refused at the door, also as members of a VRT or a mosaic."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from segment_tiles.pipeline.errors import ReadFailedError, SourceError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.label_rasters import RasterLabels
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.sources import patience
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.vectors.rasters.gdal_class_raster import GdalClassRaster
from segment_tiles.workflows.batch.jobs import Mosaic
from segment_tiles.workflows.batch.sources.mosaic import write_mosaic

VALUES = np.random.default_rng(0).integers(1, 255, (3, 300, 400), dtype=np.uint8)
SILENT = [("PNG", "a.png"), ("ENVI", "a.img"), ("ENVI", "a.dat"), ("PCIDSK", "a.pix")]
"""Of whose missing end GDAL reads zeros or garbage."""
FAIL_WHEN_READ = [
    ("JPEG", "a.jpg"), ("WEBP", "a.webp"), ("BMP", "a.bmp"), ("JP2OpenJPEG", "a.jp2"), ("EHdr", "a.bil"),
    ("ERS", "a.ers"), ("ISCE", "a.isce"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.0)


def _written(folder: Path, driver: str, name: str) -> Path:
    path = folder / name
    with rasterio.open(
        path, "w", driver=driver, width=400, height=300, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 1000, 0, -1, 9000),
    ) as dataset:  # fmt: skip
        dataset.write(VALUES)
    return path


def _data_of(path: Path) -> Path:
    """Return the file that holds the pixels."""
    return max(path.parent.glob(f"{path.stem}*"), key=lambda file: file.stat().st_size)


def _read(path: Path) -> np.ndarray:
    with closing(open_source(str(path))) as source:
        return source.read(Window(0, 0, 300, 400))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.999])
@pytest.mark.parametrize(("driver", "name"), SILENT)
def test_refused_at_the_door(driver: str, name: str, share: float, tmp_path: Path) -> None:
    path = _written(tmp_path, driver, name)
    np.testing.assert_array_equal(_read(path), VALUES)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(SourceError, match=rf"{name}: ends early or is damaged: .* copy it again"):
        open_source(str(path))


def test_a_png_that_lacks_its_last_chunk_alone(tmp_path: Path) -> None:
    path = _written(tmp_path, "PNG", "a.png")
    with path.open("ab") as file:
        file.write(b"something that a program put behind")
    np.testing.assert_array_equal(_read(path), VALUES)
    os.truncate(path, path.read_bytes().rindex(b"IEND") - 4)
    with pytest.raises(SourceError, match="ends early"):
        open_source(str(path))


def test_class_rasters_and_labels(tmp_path: Path) -> None:
    path = _written(tmp_path, "PNG", "a.png")
    with closing(open_source(str(path))) as opened:
        spec = opened.spec
    os.truncate(path, int(path.stat().st_size * 0.6))
    with pytest.raises(SourceError, match="ends early"):
        GdalClassRaster(str(path), band=1)
    with pytest.raises(SourceError, match="ends early"):
        RasterLabels(SceneSettings(name="a", raster=str(path), labels=str(path)), str(path), spec, ["a"])


@pytest.mark.parametrize(("driver", "name"), FAIL_WHEN_READ)
def test_others_fail_when_they_are_read(driver: str, name: str, tmp_path: Path) -> None:
    path = _written(tmp_path, driver, name)
    _read(path)
    data = _data_of(path)
    os.truncate(data, int(data.stat().st_size * 0.6))
    with pytest.raises((SourceError, ReadFailedError), match=name):
        _read(path)


@pytest.mark.parametrize(("driver", "name"), SILENT)
@pytest.mark.parametrize("is_mosaic", [False, True], ids=["vrt", "mosaic"])
def test_members(driver: str, name: str, tmp_path: Path, *, is_mosaic: bool) -> None:
    path = _written(tmp_path, driver, name)
    if is_mosaic:
        index = write_mosaic(Mosaic((str(path),), None, None), tmp_path / "m.gti.gpkg")
    else:
        index = tmp_path / "m.vrt"
        rasterio.shutil.copy(path, index, driver="VRT")
    np.testing.assert_array_equal(_read(index), VALUES)
    os.truncate(path, int(path.stat().st_size * 0.6))
    index.touch()
    with pytest.raises(SourceError, match=rf"{name}: ends early or is damaged"):
        open_source(str(index))


def test_an_envi_header_with_an_offset(tmp_path: Path) -> None:
    path = _written(tmp_path, "ENVI", "a.img")
    header = path.with_suffix(".hdr")
    header.write_text(header.read_text().replace("header offset = 0", "header offset = 7"))
    with pytest.raises(SourceError, match=r"reaches to byte 360,007 at least, and the file has 360,000"):
        open_source(str(path))
    path.write_bytes(bytes(7) + path.read_bytes())
    np.testing.assert_array_equal(_read(path), VALUES)


@pytest.mark.parametrize("big", ["YES", "NO"])
def test_a_tiff_of_which_more_than_four_gibibytes_are_left(big: str, tmp_path: Path) -> None:
    """Sparse on the disk: tiles of which the last lies far behind."""
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=64, height=64, count=1, dtype="uint8", tiled=True, blockxsize=64,
        blockysize=64, BIGTIFF=big, crs="EPSG:32633", transform=rasterio.Affine(1, 0, 9, 0, -1, 9),
    ) as dataset:  # fmt: skip
        dataset.write(np.full((1, 64, 64), 7, dtype=np.uint8))
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1) or 0)
    content = path.read_bytes()
    if big == "NO":
        os.truncate(path, 2**32)
        _open_and_close(path)  # counts of a classic TIFF of this size are not to be trusted
        return
    at = content.index((324).to_bytes(2, "little") + (16).to_bytes(2, "little"))
    assert int.from_bytes(content[at + 12 : at + 20], "little") == offset > 0
    path.write_bytes(content[: at + 12] + (2**32 + 10_000).to_bytes(8, "little") + content[at + 20 :])
    os.truncate(path, 2**32 + 10_000 + 4096)
    _open_and_close(path)
    os.truncate(path, 2**32 + 5_000)
    with pytest.raises(SourceError, match="its pixels reach to byte"):
        open_source(str(path))


def _open_and_close(path: Path) -> None:
    open_source(str(path)).close()
