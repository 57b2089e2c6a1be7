"""COGs of a store: valid, with the same pixels, place, colours and names; and nothing half-written."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rio_cogeo.cogeo import cog_validate

from segment_tiles.pipeline.errors import OutputError, WriteFailedError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.cog import write_cog
from segment_tiles.pipeline.outputs.stores.overviews import build_overviews
from segment_tiles.pipeline.outputs.stores.store import array_of

UTM_WKT = CRS.from_epsg(32612).to_wkt("WKT2_2019")
LAEA_WKT = CRS.from_string("+proj=laea +lat_0=7 +lon_0=21 +ellps=GRS80 +units=m").to_wkt("WKT2_2019")
PLACES = {
    "north up": GeoRef((0.5, 0.0, 500000.0, 0.0, -0.5, 4900000.0), UTM_WKT),
    "rotated": GeoRef((0.35, 0.21, 500000.0, 0.21, -0.35, 4900000.0), UTM_WKT),
    "south up": GeoRef((0.1, 0.0, 500000.0, 0.0, 0.1, 4900000.0), UTM_WKT),
    "degrees": GeoRef((1 / 3600, 0.0, -111.1, 0.0, -1 / 3600, 44.7), CRS.from_epsg(4326).to_wkt("WKT2_2019")),
    "no authority": GeoRef((30.0, 0.0, 1234.5, 0.0, -30.0, 6789.25), LAEA_WKT),
    "no CRS": GeoRef((0.25, 0.0, 0.0, 0.0, 0.25, 0.0), None, "micrometer"),
    "picture": GeoRef.of_pixels(),
}


def open_cog(path: Path) -> rasterio.DatasetReader:
    valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
    assert (valid, errors, warnings) == (True, [], [])
    return rasterio.open(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("place", PLACES)
def test_cog_is_valid_and_stands_at_the_very_same_place(make_store, patchy_classes, tmp_path, place) -> None:
    georef, classes = PLACES[place], patchy_classes(1100, 700)
    write_cog(make_store(classes, georef=georef), tmp_path / "classes.tif")
    with open_cog(tmp_path / "classes.tif") as dataset:
        assert GeoRef.from_affine(dataset.transform, georef.crs_wkt).affine == georef.affine
        assert (dataset.crs is None) == (georef.crs_wkt is None)
        if georef.crs_wkt:
            assert CRS.from_wkt(dataset.crs.to_wkt(version="WKT2_2019")).equals(
                georef.crs, ignore_axis_order=True
            )
        assert np.array_equal(dataset.read(1), classes)


def test_writing_a_plain_picture_warns_of_nothing(make_store, patchy_classes, tmp_path) -> None:
    """Warnings are errors in this suite; reading such a file with rasterio does warn."""
    write_cog(make_store(patchy_classes(600, 600), georef=GeoRef.of_pixels()), tmp_path / "classes.tif")
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(tmp_path / "classes.tif"):
        pass


def test_classes_have_colours_nodata_and_overviews_by_mode(
    make_store, patchy_classes, table, tmp_path
) -> None:
    group = make_store(patchy_classes(1400, 1100))
    build_overviews(group)
    write_cog(group, tmp_path / "classes.tif")
    with open_cog(tmp_path / "classes.tif") as dataset:
        assert dataset.nodata == table.nodata
        assert dataset.colorinterp == (ColorInterp.palette,)
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.compression.value == "DEFLATE"
        for entry in table.classes:
            assert dataset.colormap(1)[entry.code] == (*entry.color, 255)
        assert dataset.colormap(1)[table.nodata][3] == 0
        assert dataset.overviews(1) == [2, 4]
    for level in (1, 2):
        with rasterio.open(tmp_path / "classes.tif", overview_level=level - 1) as overview:
            # GDAL's mode and ours have the same rules, so both formats look alike
            assert np.array_equal(overview.read(1), array_of(group, f"{level}/classes")[:])


def test_confidence_has_nodata_statistics_and_average_overviews(make_store, patchy_classes, tmp_path) -> None:
    classes = patchy_classes(700, 600)
    group = make_store(classes)
    write_cog(group, tmp_path / "confidence.tif", name="confidence")
    confidence = np.asarray(array_of(group, "confidence")[:])
    with open_cog(tmp_path / "confidence.tif") as dataset:
        assert dataset.nodata == 0
        assert np.array_equal(dataset.read(1), confidence)
        valid = confidence[classes != 255]
        assert float(dataset.tags(1)["STATISTICS_MEAN"]) == pytest.approx(valid.mean())
        assert dataset.descriptions == ("confidence",)
    assert not (tmp_path / "confidence.tif.aux.xml").exists()


def test_scores_have_a_band_for_every_class(make_store, patchy_classes, table, tmp_path) -> None:
    scores = np.random.default_rng(3).integers(0, 256, (table.count, 600, 530), dtype=np.uint8)
    write_cog(make_store(patchy_classes(600, 530), scores=scores), tmp_path / "scores.tif", name="scores")
    with open_cog(tmp_path / "scores.tif") as dataset:
        assert dataset.descriptions == table.names
        assert dataset.nodata is None
        assert np.array_equal(dataset.read(), scores)


def test_more_than_255_classes_make_a_16_bit_cog(make_store, tmp_path) -> None:
    table = ClassTable(tuple(MapClass(i, f"class {i}", (i % 256, i // 256, 7)) for i in range(300)))
    classes = np.arange(600 * 520, dtype=np.uint16).reshape(600, 520) % 300
    classes[:9] = table.nodata
    write_cog(make_store(classes, table=table), tmp_path / "classes.tif")
    with open_cog(tmp_path / "classes.tif") as dataset:
        assert dataset.dtypes == ("uint16",)
        assert dataset.nodata == 65535
        assert dataset.colormap(1)[299] == (43, 1, 7, 255)
        assert np.array_equal(dataset.read(1), classes)


def test_nodata_takes_no_room(make_store, patchy_classes, tmp_path) -> None:
    classes = patchy_classes(600, 600)
    large = np.full((600, 20000), 255, np.uint8)
    large[:, :600] = classes
    write_cog(make_store(large), tmp_path / "large.tif")
    with open_cog(tmp_path / "large.tif") as dataset:
        stored = [dataset.get_tag_item(f"BLOCK_OFFSET_{column}_0", "TIFF", bidx=1) for column in range(40)]
        assert [offset is not None for offset in stored] == [True] * 2 + [False] * 38
        assert np.array_equal(dataset.read(1), large)


def test_same_store_gives_the_same_bytes_and_replaces_the_old_file(
    make_store, patchy_classes, tmp_path
) -> None:
    group, target = make_store(patchy_classes(900, 800)), tmp_path / "classes.tif"
    target.write_bytes(b"older")
    write_cog(group, target)
    first = hashlib.sha256(target.read_bytes()).digest()
    write_cog(group, target)
    assert hashlib.sha256(target.read_bytes()).digest() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "classes.qml",
        "classes.tif",
        "classes.tif.aux.xml",
        "classes.zarr",
    ]


def test_an_older_aux_xml_does_not_stay_beside_a_new_file(make_store, patchy_classes, tmp_path) -> None:
    stale = tmp_path / "confidence.tif.aux.xml"
    stale.write_text("<PAMDataset/>")
    write_cog(make_store(patchy_classes(100, 100)), tmp_path / "confidence.tif", name="confidence")
    assert not stale.exists()


def test_leftovers_of_a_killed_process_are_cleared(make_store, patchy_classes, tmp_path) -> None:
    leftover = tmp_path / ".classes.tif.partial"
    leftover.mkdir()
    (leftover / "uncopied-classes.tif").write_bytes(b"half")
    write_cog(make_store(patchy_classes(100, 100)), tmp_path / "classes.tif")
    assert not leftover.exists()


def test_an_array_that_is_not_there_is_named(make_store, patchy_classes, tmp_path) -> None:
    with pytest.raises(OutputError, match="no array 'scores'"):
        write_cog(make_store(patchy_classes(100, 100)), tmp_path / "scores.tif", name="scores")


# A real process whose files cannot grow past a limit: what a full disk does to GDAL, at any byte.
LIMITED = """
import resource, signal, sys
from pathlib import Path
from segment_tiles.pipeline.errors import WriteFailedError
from segment_tiles.pipeline.outputs.cog import write_cog
from segment_tiles.pipeline.outputs.stores.store import open_store

group = open_store(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    write_cog(group, Path(sys.argv[2]))
except WriteFailedError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
def test_a_disk_that_becomes_full_leaves_nothing_under_the_final_name(make_store, tmp_path) -> None:
    classes = np.random.default_rng(5).integers(0, 3, (1200, 1200), dtype=np.uint8)
    make_store(classes)
    write_cog(make_store(classes, name="free.zarr"), tmp_path / "free.tif")
    size = (tmp_path / "free.tif").stat().st_size
    target = tmp_path / "classes.tif"
    # in the temporary file; in the copy; within its last tile, which GDAL itself does not report
    for limit in (100_000, size - 60_000, size - 2_000):
        run = subprocess.run(
            [sys.executable, "-c", LIMITED, tmp_path / "classes.zarr", target, str(limit)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 7, run.stderr
        assert str(target) in run.stdout
        assert run.stdout.count("\n") == 1
        assert "cannot be written" in run.stdout
        assert not list(tmp_path.glob("classes.tif*")) + list(tmp_path.glob(".classes.tif*"))


def test_a_folder_that_cannot_be_made_is_one_line(make_store, patchy_classes, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteFailedError, match="cannot be written"):
        write_cog(make_store(patchy_classes(50, 50)), tmp_path / "file" / "classes.tif")
