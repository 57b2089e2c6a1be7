"""Class rasters for polygons and labels: sidecars, masks, nodata of bands and ground control points count there too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.vrt import WarpedVRT

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.label_rasters import RasterLabels
from segment_tiles.pipeline.learning.data.scenes import LabelledScene
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.vectors.rasters.gdal_class_raster import MASKED, GdalClassRaster

TURNED = (
    rasterio.Affine.translation(500000, 5e6) * rasterio.Affine.rotation(20) * rasterio.Affine.scale(10, -10)
)
PAM = '<PAMDataset>{}<PAMRasterBand band="1"><NoDataValue>2</NoDataValue></PAMRasterBand></PAMDataset>'


def codes_of(made: Any) -> NDArray[np.uint8]:
    """Return 1 x rows x columns of three classes."""
    return made.noise(1, low=0, high=2)


def mask_of(made: Any) -> NDArray[np.bool_]:
    """Return a mask that hides BLANK."""
    mask = np.ones((made.HEIGHT, made.WIDTH), bool)
    mask[made.BLANK] = False
    return mask


def write_kind(kind: str, folder: Path, made: Any) -> tuple[Path, NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a class raster, its codes, and which pixels have a class."""
    codes = codes_of(made)
    path = folder / "classes.tif"
    if kind == "nodata in .aux.xml":
        made.write(path, codes)
        Path(f"{path}.aux.xml").write_text(PAM.format(""))
        return path, codes[0], codes[0] != 2
    if kind == ".msk":
        made.write(path, codes, mask=mask_of(made), environment={"GDAL_TIFF_INTERNAL_MASK": False})
        return path, codes[0], mask_of(made)
    if kind == "mask of the band":
        made.write(folder / "mask.tif", mask_of(made)[np.newaxis].astype(np.uint8) * 255)
        source = made.write(folder / "source.tif", codes)
        inside = (
            'Byte|<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource><SourceFilename relativeToVRT="1">mask.tif'
            "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></MaskBand>"
        )
        return made.vrt(folder / "a.vrt", source, [inside], made.PLACE), codes[0], mask_of(made)
    source = made.write(folder / "source.tif", codes)
    bands = ["Byte|<NoDataValue>1.5</NoDataValue>"]
    return made.vrt(folder / "a.vrt", source, bands, made.PLACE), codes[0], codes[0] != 1


KINDS = ["nodata in .aux.xml", ".msk", "mask of the band", "nodata with a fraction"]


@pytest.mark.parametrize("kind", KINDS)
def test_polygons_know_which_pixels_have_a_class(kind, tmp_path, made, unlisted_folders):
    path, codes, has_class = write_kind(kind, tmp_path, made)
    raster = GdalClassRaster(path, 1)
    assert np.array_equal(raster.read(raster.spec.window) != raster.spec.nodata, has_class)
    assert np.array_equal(raster.read(raster.spec.window)[has_class], codes[has_class])
    raster.close()


@pytest.mark.parametrize("kind", KINDS)
def test_labels_know_which_pixels_have_a_class(kind, tmp_path, made, unlisted_folders):
    path, codes, has_class = write_kind(kind, tmp_path, made)
    labels = RasterLabels(scene(), str(path), grid(made), ("a", "b", "c"))
    read = labels.read(Window(0, 0, made.HEIGHT, made.WIDTH))
    assert np.array_equal(read, np.where(has_class, codes, IGNORE_CODE))
    labels.close()


def test_polygons_of_a_raster_with_ground_control_points_lie_where_gdal_puts_them(tmp_path, made):
    codes = codes_of(made)
    path = made.write(tmp_path / "a.tif", codes, gcps=made.control_points(TURNED, "EPSG:32633"), nodata=2)
    raster = GdalClassRaster(path, 1)
    with rasterio.open(path) as file, WarpedVRT(file, tolerance=0, add_alpha=True) as view:
        hidden = (view.read(2) == 0) | (view.read(1) == 2)
        expected = np.where(hidden, MASKED, view.read(1).astype(np.int32))
        assert raster.spec.georef.transform == tuple(view.transform)[:6]
    assert np.array_equal(raster.read(raster.spec.window), expected)
    assert raster.spec.nodata == MASKED
    assert "5 ground control points" in raster.spec.notes[0]
    raster.close()


def grid(made: Any) -> RasterSpec:
    """Return the grid of a scene on which labels are read."""
    georef = GeoRef.from_affine(made.NORTH_UP, rasterio.crs.CRS.from_epsg(32633).to_wkt(version="WKT2_2019"))
    return RasterSpec(3, made.HEIGHT, made.WIDTH, "uint8", georef)


def scene() -> SceneSettings:
    """Return the settings of a scene that has nothing but a name and files."""
    return SceneSettings.model_validate({"name": "scene", "raster": "a.tif", "labels": "b.tif"})


def test_what_a_training_raster_has_that_is_not_applied_is_said(tmp_path, made):
    made.write(tmp_path / "a.tif", made.noise(3, "int16"), scales=(0.5,) * 3, offsets=(0.0,) * 3)
    made.write(tmp_path / "b.tif", codes_of(made))
    opened = LabelledScene(scene(), tmp_path, ("a", "b", "c"))
    assert "scene scene: bands 1, 2, 3 have a scale of 0.5" in opened.notes[0]
    opened.source.close()
    opened.labels.close()
