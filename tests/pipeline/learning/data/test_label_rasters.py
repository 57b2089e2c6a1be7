"""Label rasters that lie elsewhere, say no place, or hold what is no class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from segment_tiles.pipeline.errors import SegmentTilesError, TrainingError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.labels import LabelReader, open_labels
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.sources.open import open_source

WHOLE = Window(0, 0, 160, 160)


def labels_of(discs: Any, path: Path, **more: Any) -> LabelReader:
    source = open_source(str(discs.folder / "scene.tif"))
    settings = SceneSettings(name="discs", raster="scene.tif", labels=str(path), **more)
    try:
        return open_labels(settings, str(path), source.spec, ("ground", "disc"))
    finally:
        source.close()


def codes_of(discs: Any) -> tuple[dict[str, Any], np.ndarray]:
    with rasterio.open(discs.folder / "codes.tif") as file:
        return dict(file.profile), file.read(1)


def test_a_picture_of_the_same_size_is_taken_pixel_for_pixel(discs: Any, tmp_path: Path) -> None:
    _, codes = codes_of(discs)
    Image.fromarray(codes).save(tmp_path / "codes.png")
    reader = labels_of(discs, tmp_path / "codes.png")
    assert (reader.read(WHOLE) == codes).all()
    assert "pixel for pixel" in reader.notes[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("Byte", "Byt\xff"), "no UTF-8"),
        (("0.0, 1.0, 0.0", "0.0, nan, 0.0"), "pixels have no size"),
        (("0.0, 1.0, 0.0", "0.0, 0.0, 0.0"), "pixels have no size"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of rasterio's log
def test_a_virtual_raster_that_says_what_cannot_be(
    discs: Any, tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    text = (
        '<VRTDataset rasterXSize="160" rasterYSize="160"><GeoTransform>0.0, 1.0, 0.0, 0.0, 0.0, -1.0</GeoTransform>'
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="0">'
        f"{discs.folder / 'codes.tif'}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    assert change[0] in text
    (tmp_path / "codes.vrt").write_bytes(text.replace(*change).encode("latin-1"))
    with pytest.raises(SegmentTilesError, match=expected) as caught:
        labels_of(discs, tmp_path / "codes.vrt")
    assert "codes.vrt" in str(caught.value)


def test_a_scene_without_a_crs_takes_labels_of_its_size_and_says_so(discs: Any, tmp_path: Path) -> None:
    source = open_source(str(discs.folder / "scene.tif"))
    spec = replace(source.spec, georef=GeoRef.of_pixels())
    source.close()
    path = discs.folder / "codes.tif"
    settings = SceneSettings(name="discs", raster="scene.tif", labels=str(path))
    reader = open_labels(settings, str(path), spec, ("ground", "disc"))
    assert (reader.read(WHOLE) == codes_of(discs)[1]).all()
    (note,) = reader.notes
    assert "the scene has no CRS" in note
    assert "pixel for pixel" in note


def test_a_picture_of_another_size_is_refused(discs: Any, tmp_path: Path) -> None:
    Image.fromarray(codes_of(discs)[1][:99]).save(tmp_path / "codes.png")
    with pytest.raises(TrainingError, match="160 x 99 and has no CRS"):
        labels_of(discs, tmp_path / "codes.png")


@pytest.mark.parametrize(
    "change", [{"crs": "EPSG:32613"}, {"transform": rasterio.Affine(1, 0, 100, 0, -1, 50)}]
)
def test_a_raster_that_lies_elsewhere_is_refused(discs: Any, tmp_path: Path, change: dict[str, Any]) -> None:
    """Six degrees further east the same numbers are another place: the same transform is not the same grid."""
    profile, codes = codes_of(discs)
    with rasterio.open(tmp_path / "far.tif", "w", **(profile | change)) as file:
        file.write(codes, 1)
    with pytest.raises(TrainingError, match=r"does not overlap the scene discs.* check the CRS") as caught:
        labels_of(discs, tmp_path / "far.tif")
    assert "\n" not in str(caught.value)


def test_not_a_number_is_no_label(discs: Any, tmp_path: Path) -> None:
    profile, codes = codes_of(discs)
    values = codes.astype(np.float32)
    values[:50] = np.nan
    for nodata in (None, np.nan):
        path = tmp_path / f"{nodata}.tif"
        with rasterio.open(path, "w", **(profile | {"dtype": "float32", "nodata": nodata})) as file:
            file.write(values, 1)
        read = labels_of(discs, path).read(WHOLE)
        assert (read[:50] == IGNORE_CODE).all()
        assert (read[50:] == codes[50:]).all()


def test_255_stays_a_class_if_the_raster_is_warped(discs: Any, tmp_path: Path) -> None:
    profile, codes = codes_of(discs)
    finer = profile | {
        "transform": profile["transform"] @ rasterio.Affine.scale(0.5),
        "width": 320,
        "height": 300,
    }
    with rasterio.open(tmp_path / "finer.tif", "w", **finer) as file:
        file.write(np.where(codes == 1, 255, 0)[:150].repeat(2, 0).repeat(2, 1).astype(np.uint8), 1)
    reader = labels_of(discs, tmp_path / "finer.tif", class_values={"255": "disc", "0": "ground"})
    read = reader.read(WHOLE)
    assert (read[:150] == codes[:150]).all()
    assert (read[150:] == IGNORE_CODE).all()
