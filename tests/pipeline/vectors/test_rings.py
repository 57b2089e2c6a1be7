"""Vertices in and out of pixel-edge polygons."""

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segment_tiles.pipeline.vectors.geometry.rings import (
    drop_straight_vertices,
    gather_parts,
    insert_vertices,
    junctions,
)
from segment_tiles.pipeline.vectors.tracing.trace import trace_outlines

CODES = arrays(np.int32, st.tuples(st.integers(1, 10), st.integers(1, 10)), elements=st.integers(1, 3))


@given(codes=CODES)
def test_junctions_make_a_coverage_and_can_be_taken_out_again(codes):
    _, polygons = trace_outlines(codes, with_unlabelled=False)
    surroundings = np.pad(codes, 1, constant_values=-1)
    shared = insert_vertices(polygons, *junctions(surroundings), codes.shape)
    assert shapely.coverage_is_valid(shared)
    assert (shapely.normalize(drop_straight_vertices(shared)) == shapely.normalize(polygons)).all()


def test_straight_vertices_at_the_start_of_a_ring_go_too():
    ring = shapely.Polygon([(1, 0), (2, 0), (2, 2), (0, 2), (0, 0), (1, 0)])
    (simple,) = drop_straight_vertices(np.array([ring]))
    assert len(simple.exterior.coords) == 5
    assert simple.equals(ring)


def test_parts_are_gathered_by_owner():
    boxes = shapely.box(np.arange(4), 0, np.arange(4) + 0.5, 1)
    first, second = gather_parts(boxes, np.array([1, 0, 1, 1]), 2)
    assert first.equals(boxes[1])
    assert first.geom_type == "Polygon"
    assert second.geom_type == "MultiPolygon"
    assert second.area == 1.5
