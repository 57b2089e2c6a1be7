"""Hilbert curve, amounts, right angles, palette, category names."""

import zipfile

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
import shapely.affinity
from array_class_raster import ArrayClassRaster
from geopandas import GeoSeries

from segment_tiles.pipeline.errors import UsageError, VectorError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.palette import class_color
from segment_tiles.pipeline.vectors.amounts import pixel_area, pixels_of_area, pixels_of_length
from segment_tiles.pipeline.vectors.geometry.hilbert import hilbert_distance
from segment_tiles.pipeline.vectors.geometry.right_angles import right_angled
from segment_tiles.pipeline.vectors.rasters.opening import open_class_raster
from segment_tiles.pipeline.vectors.tracing.trace import trace_outlines


def test_hilbert_curve_visits_every_cell_in_single_steps():
    columns, rows = (axis.ravel() for axis in np.meshgrid(np.arange(64), np.arange(64)))
    distance = hilbert_distance(columns, rows)
    assert sorted(distance) == list(range(64 * 64))
    order = np.argsort(distance)
    steps = abs(np.diff(columns[order])) + abs(np.diff(rows[order]))
    assert (steps == 1).all()


def test_hilbert_curve_keeps_neighbours_as_well_as_geopandas():
    generator = np.random.default_rng(0)
    columns, rows = generator.integers(0, 2**16, (2, 2000))

    def path_length(distance):
        order = np.argsort(distance)
        return np.hypot(np.diff(columns[order]), np.diff(rows[order])).sum()

    theirs = GeoSeries(shapely.points(columns, rows)).hilbert_distance(total_bounds=(0, 0, 2**16, 2**16))
    assert path_length(hilbert_distance(columns, rows)) < 1.1 * path_length(theirs.to_numpy())


UTM = rasterio.CRS.from_epsg(32612).to_wkt()
DEGREES = rasterio.CRS.from_epsg(4326).to_wkt()


def spec_of(georef):
    return ArrayClassRaster(np.zeros((10, 10), np.uint8), georef=georef).spec


def test_areas_and_lengths_in_words():
    spec = spec_of(GeoRef((0.5, 0, 5e5, 0, -0.5, 4e6), UTM))
    assert pixels_of_area("25px", spec) == 25
    assert pixels_of_area("25", spec) == 100
    assert pixels_of_area("0.3", spec) == 2  # more than one pixel of a quarter square metre
    assert pixels_of_area("0.25", spec) == 1
    assert pixels_of_length("2px", spec) == 2
    assert pixels_of_length("2", spec) == 4
    for text in ("-1", "1.5px", "many", "", "nan", "inf"):
        with pytest.raises(UsageError, match=r"px|such as"):
            pixels_of_area(text, spec)


def test_pixel_area_by_unit():
    assert pixel_area(spec_of(GeoRef.of_pixels())) == 1
    assert pixel_area(spec_of(GeoRef((0.25, 0, 0, 0, 0.25, 0), None, "micrometer"))) == 0.0625
    step = 1 / 3600
    at_sixty = pixel_area(spec_of(GeoRef((step, 0, 10, 0, -step, 60), DEGREES)))
    assert at_sixty == pytest.approx(30.87 * 30.87 * 0.5, rel=0.02)


@pytest.mark.parametrize("angle", [0, 17, 45, 80])
def test_building_becomes_right_angled(angle):
    corner = shapely.Polygon([(0, 0), (60, 0), (60, 25), (30, 25), (30, 50), (0, 50)])
    building = shapely.affinity.translate(shapely.affinity.rotate(corner, angle, origin=(30, 25)), 30, 30)
    pixels = rasterio.features.rasterize([building], (120, 130)).astype(np.int32)
    _, outlines = trace_outlines(pixels, with_unlabelled=False)
    (result,) = right_angled(outlines, 2.0)
    corners = shapely.get_coordinates(result)
    steps = np.diff(corners, axis=0)
    assert len(corners) == 7
    assert (steps * np.roll(steps, 1, axis=0)).sum(axis=1) == pytest.approx(0, abs=1e-6)
    assert result.intersection(building).area / result.union(building).area > 0.93


def test_what_is_no_building_keeps_its_outline():
    thin = np.eye(30, dtype=np.int32) + np.eye(30, k=1, dtype=np.int32)
    _, outlines = trace_outlines(np.minimum(thin, 1), with_unlabelled=False)
    (result,) = right_angled(outlines, 2.0)
    assert result.is_valid
    assert result.intersection(outlines[0]).area >= 0.7 * outlines[0].area


def test_courtyards_stay():
    pixels = np.zeros((60, 60), np.int32)
    pixels[5:55, 5:45] = 1
    pixels[20:40, 15:35] = 0
    _, outlines = trace_outlines(pixels, with_unlabelled=False)
    (result,) = right_angled(outlines, 2.0)
    assert result.symmetric_difference(outlines[0]).area < 1e-9
    assert len(result.interiors) == 1


def test_names_and_colours_of_a_gdal_raster(tmp_path):
    path = tmp_path / "classes.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=3, height=2, count=1, dtype="uint8", crs="EPSG:32612",
        transform=rasterio.Affine(2, 0, 0, 0, -2, 0),
    ) as raster:  # fmt: skip
        raster.write(np.array([[0, 1, 2], [0, 1, 2]], np.uint8), 1)
        raster.write_colormap(1, {0: (0, 0, 0, 255), 1: (10, 20, 30, 255), 2: (40, 50, 60, 255)})
    (known,) = {tuple((c.code, c.color) for c in open_class_raster(path).spec.classes)}
    assert known == ((1, (10, 20, 30)), (2, (40, 50, 60)))
    sidecar = tmp_path / "classes.tif.aux.xml"
    sidecar.write_text(
        "<PAMDataset><PAMRasterBand band='1'><CategoryNames><Category>none</Category><Category>wäter</Category>"
        "<Category /></CategoryNames></PAMRasterBand></PAMDataset>"
    )
    classes = open_class_raster(path).spec.classes
    assert [(c.code, c.name) for c in classes] == [(0, "none"), (1, "wäter"), (2, "class 2")]
    with zipfile.ZipFile(tmp_path / "maps.zip", "w") as archive:
        for file in (path, sidecar):
            archive.write(file, file.name)
    inside = open_class_raster(f"/vsizip/{tmp_path}/maps.zip/classes.tif").spec.classes
    assert inside == classes
    sidecar.write_text("<PAMDataset")
    with pytest.raises(VectorError, match="not readable XML"):
        open_class_raster(path)


def test_colours_differ():
    assert len({class_color(code) for code in range(60)}) == 60
