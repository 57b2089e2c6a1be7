"""Outlines by the two ways to GDAL's polygonizer."""

import subprocess
import sys

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segment_tiles.pipeline.vectors.tracing import trace
from segment_tiles.pipeline.vectors.tracing.trace import has_gdal_pipeline, trace_outlines

SMALL_LABELS = arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 3))


def sorted_outlines(labels, **options):
    owner, polygons = trace_outlines(labels, **options)
    polygons = shapely.normalize(polygons)
    return sorted(zip(owner.tolist(), (polygon.wkt for polygon in polygons), strict=True))


@pytest.mark.skipif(not has_gdal_pipeline(), reason="this GDAL has no `gdal pipeline ! polygonize`")
@pytest.mark.parametrize("with_unlabelled", [True, False])
@given(labels=SMALL_LABELS)
def test_both_ways_give_the_same_polygons(with_unlabelled, labels):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "FEW_EDGES", -1)
        by_pipeline = sorted_outlines(labels, with_unlabelled=with_unlabelled)
        patch.setattr(trace, "FEW_EDGES", 2 * labels.size)
        by_rasterio = sorted_outlines(labels, with_unlabelled=with_unlabelled)
    assert by_pipeline == by_rasterio


@given(labels=SMALL_LABELS)
def test_outlines_are_valid_and_cover_their_pixels(labels):
    owner, polygons = trace_outlines(labels, with_unlabelled=True)
    assert shapely.is_valid(polygons).all()
    for label in np.unique(labels):
        assert shapely.area(polygons[owner == label]).sum() == (labels == label).sum()
    rows, columns = np.indices(labels.shape)
    for polygon, label in zip(polygons, owner, strict=True):
        inside = shapely.contains_xy(polygon, columns + 0.5, rows + 0.5)
        assert (labels[inside] == label).all()


def test_nothing_labelled_gives_nothing():
    owner, polygons = trace_outlines(np.zeros((100, 90), np.int32), with_unlabelled=False)
    assert len(owner) == len(polygons) == 0


@pytest.mark.skipif(not has_gdal_pipeline(), reason="this GDAL has no `gdal pipeline ! polygonize`")
def test_nothing_is_written_where_the_user_works(tmp_path, monkeypatch):
    labels = np.arange(160 * 140, dtype=np.int32).reshape(160, 140)  # enough edges for the way through files
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()  # no file can be made in this folder, not even by root
    owner, _ = trace_outlines(labels, with_unlabelled=True)
    assert len(owner) == labels.size


@pytest.mark.skipif(not has_gdal_pipeline(), reason="GDAL is older than 3.12: nothing is written")
def test_a_disk_that_takes_no_more_is_said_in_a_line() -> None:
    """GDAL keeps polygons on their way in a GeoPackage of megabytes; here no file may have more than 100 kB."""
    code = """if True:
        import resource, signal
        import numpy as np
        from segment_tiles.pipeline.errors import WriteFailedError
        from segment_tiles.pipeline.vectors.tracing.trace import trace_outlines
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            trace_outlines(np.arange(145 * 145, dtype=np.int32).reshape(145, 145), with_unlabelled=True)
        except WriteFailedError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert "cannot be written" in line
    assert "start the same command again" in line
