"""Simplified coverages: valid, within the tolerance, nothing lost."""

import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segment_tiles.pipeline.vectors.geometry.arcs import arcs_of
from segment_tiles.pipeline.vectors.geometry.rings import insert_vertices, junctions
from segment_tiles.pipeline.vectors.geometry.simplify import simplify_coverage
from segment_tiles.pipeline.vectors.tracing.trace import trace_outlines

CODES = arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(1, 3))
TWO_CODES = arrays(np.int32, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(1, 2))


def coverage_of(text: str | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The exact outlines of an array of codes, their codes, and their nodes."""
    codes = np.array([list(line) for line in text.split()]).view(np.int32) if isinstance(text, str) else text
    owner, polygons = trace_outlines(codes, with_unlabelled=False)
    rows, columns = junctions(np.pad(codes, 1, constant_values=-1))
    nodes = np.ones((codes.shape[0] + 1, codes.shape[1] + 1), dtype=bool)
    nodes[1:-1, 1:-1] = False
    nodes[rows, columns] = True
    return owner, insert_vertices(polygons, rows, columns, codes.shape), nodes


def neighbours(polygons: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of polygons that share a border."""
    first, second = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    lengths = shapely.length(
        shapely.intersection(shapely.boundary(polygons[first]), shapely.boundary(polygons[second]))
    )
    is_shared = (first != second) & (lengths > 0)
    return set(zip(first[is_shared].tolist(), second[is_shared].tolist(), strict=True))


def check_laws(codes: np.ndarray | str, tolerance: float) -> np.ndarray:
    """Everything that simplification promises; return the simplified polygons."""
    _, exact, nodes = coverage_of(codes)
    simple = simplify_coverage(exact, nodes, tolerance)
    assert shapely.is_valid(simple).all()
    assert shapely.coverage_is_valid(simple)
    assert shapely.area(simple).min() > 0
    height, width = np.array(nodes.shape) - 1
    assert shapely.union_all(simple).equals(shapely.box(0, 0, width, height))
    assert shapely.area(simple).sum() == height * width
    moved = shapely.hausdorff_distance(shapely.boundary(exact), shapely.boundary(simple))
    assert moved.max() <= tolerance + 1e-9
    assert (shapely.get_num_interior_rings(simple) == shapely.get_num_interior_rings(exact)).all()
    assert neighbours(simple) == neighbours(exact)
    return simple


@given(codes=CODES)
def test_outlines_are_put_together_again_from_their_arcs(codes):
    _, exact, nodes = coverage_of(codes)
    arcs = arcs_of(exact, nodes)
    assert shapely.equals_exact(shapely.normalize(arcs.polygons()), shapely.normalize(exact)).all()
    # every border once: half of all edges, and those of the frame
    lengths = shapely.length(shapely.linestrings(arcs.vertices.astype(float), indices=arcs.owners))
    assert lengths.sum() == (shapely.length(exact).sum() + 2 * (sum(nodes.shape) - 2)) / 2


@given(codes=st.one_of(CODES, TWO_CODES), tolerance=st.sampled_from([0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 10.0]))
@example(codes=np.indices((12, 12)).sum(axis=0).astype(np.int32) % 2 + 1, tolerance=2.0)
def test_simplified_outlines_are_a_coverage_within_the_tolerance(codes, tolerance):
    check_laws(codes, tolerance)


def test_an_island_in_a_bay_is_not_jumped_over():
    """The chord over the mouth of the bay is near enough, but would take the island ashore."""
    simple = check_laws(
        """
        aaaaaaaaaaaa
        aaaaaaaaaaaa
        aaaabbbbaaaa
        aaaabcbbaaaa
        bbbbbbbbbbbb
        bbbbbbbbbbbb
        """,
        4.0,
    )
    assert len(simple) == 3


def test_a_spiral_one_pixel_wide_stays_one():
    codes = np.ones((23, 23), dtype=np.int32)
    row, column = 1, 1
    sides = (20, 20, 20, 18, 18, 16, 16, 14, 14, 12, 12, 10, 10, 8, 8, 6, 6, 4, 4)
    for turn, length in enumerate(sides):
        for _ in range(length):
            codes[row, column] = 2
            row, column = row + (0, 1, 0, -1)[turn % 4], column + (1, 0, -1, 0)[turn % 4]
    assert len(check_laws(codes, 3.0)) == 2


def test_single_pixels_stay_as_they_are():
    codes = np.ones((9, 9), dtype=np.int32)
    codes[2::4, 2::4] = 2
    owner, exact, nodes = coverage_of(codes)
    simple = simplify_coverage(exact, nodes, 5.0)
    assert shapely.equals(exact, simple).all()
    assert (owner == 2).sum() == 4


@pytest.mark.parametrize("angle", [0.1, 0.4, np.pi / 4, 1.2])
def test_a_straight_border_is_one_line(angle):
    rows, columns = np.mgrid[:200, :200]
    codes = (np.cos(angle) * rows - np.sin(angle) * columns > 20).astype(np.int32) + 1
    _, exact, nodes = coverage_of(codes)
    simple = simplify_coverage(exact, nodes, 1.5)  # the staircase of a line is less than sqrt(2) wide
    assert shapely.get_num_coordinates(simple).sum() <= 14
