"""Overviews as the file lists them: GDAL counts its levels in that order, whatever their size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source, reductions_of
from segment_tiles.pipeline.sources.pyramids.pyramid import PyramidFacts
from segment_tiles.pipeline.sources.resampling.resampled_source import level_for
from segment_tiles.pipeline.sources.view import View

UTM = "EPSG:32633"
SIDE = 64


def write(path: Path, factors: tuple[int, ...], count: int = 1, **placed: Any) -> NDArray[Any]:
    """Write noise and its overviews one after the other; return the noise."""
    values = np.random.default_rng(0).integers(1, 255, (count, SIDE, SIDE), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", height=SIDE, width=SIDE, count=count, dtype="uint8", tiled=True, blockxsize=16,
        blockysize=16, **placed,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    for factor in factors:
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([factor], Resampling.average)
    return values


def everything(source: Source) -> NDArray[Any]:
    values = source.read(source.spec.window)
    source.close()
    return values


@pytest.mark.parametrize("metres", [2.0, 4.0, 8.0])
def test_the_overview_that_is_fine_enough_is_read_wherever_it_stands(tmp_path: Path, metres: float) -> None:
    path = str(tmp_path / "a.tif")
    values = write(
        tmp_path / "a.tif", (8, 2), crs=UTM, transform=rasterio.Affine(1, 0, 500000, 0, -1, 5600000)
    )
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == [8, 2], "the file lists the coarse one first"
    source = open_source(path)
    level = level_for(source.spec, reductions_of(source), metres, path)
    source.close()
    with rasterio.open(path, overview_level=level - 1) as overview:
        assert SIDE / overview.height <= metres
        assert overview.height == SIDE // (2 if metres < 8 else 8), "the coarsest that is fine enough"
    found = everything(open_source(path, level=level, view=View(metres=metres)))
    small = SIDE // int(metres)
    expected = values[0].reshape(small, int(metres), small, int(metres)).mean((1, 3))
    assert np.abs(found[0] - expected).max() <= 1.5, "rounded twice at most"


def test_the_coarsest_level_of_a_pyramid_is_found_in_any_order() -> None:
    levels = ((64, 64), (8, 8), (32, 32))
    facts = PyramidFacts("raster", 1, "uint8", levels, levels, mpp=None)
    assert [facts.level_for(mpp, (1.0, 1.0)) for mpp in (1.0, 2.0, 4.0, 8.0)] == [0, 2, 2, 1]


def test_overviews_that_not_all_bands_have_are_no_levels(tmp_path: Path) -> None:
    """GDAL opens a Level only of all bands together."""
    write(tmp_path / "a.tif", (2, 4), crs=UTM, transform=rasterio.Affine(1, 0, 500000, 0, -1, 5600000))
    write(tmp_path / "b.tif", (2,), crs=UTM, transform=rasterio.Affine(1, 0, 500000, 0, -1, 5600000))
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{n}"><SimpleSource><SourceFilename relativeToVRT="1">{name}.tif'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for n, name in enumerate("ab", 1)
    )
    (tmp_path / "ab.vrt").write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>{UTM}</SRS><GeoTransform>500000, 1, 0, '
        f"5600000, 0, -1</GeoTransform>{bands}</VRTDataset>"
    )
    for chosen in ((1,), (1, 2)):
        source = open_source(str(tmp_path / "ab.vrt"), bands=chosen)
        for level in range(1, len(reductions_of(source)) + 1):
            with rasterio.open(tmp_path / "ab.vrt", overview_level=level - 1):
                open_source(str(tmp_path / "ab.vrt"), bands=chosen, level=level).close()
        source.close()


def test_overviews_of_a_raster_placed_by_points_are_not_read(tmp_path: Path) -> None:
    """The warped view has none, and GDAL warps an overview onto another grid."""
    path, corners = tmp_path / "a.tif", ((0, 0), (0, SIDE), (SIDE, 0), (SIDE, SIDE))
    points = [
        GroundControlPoint(row, column, 5e5 + column - row / 8, 5e6 - row + column / 8)
        for row, column in corners
    ]
    write(path, ())
    with rasterio.open(path, "r+") as dataset:
        dataset.gcps = (points, UTM)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2], Resampling.average)
    source = open_source(str(path))
    assert source.spec.georef.crs is not None, "it is placed"
    assert reductions_of(source) == ()
    source.close()
    with pytest.raises(
        SourceError, match=r"a\.tif: is placed by its 4 ground control points.*leave --level out"
    ):
        open_source(str(path), level=1)
