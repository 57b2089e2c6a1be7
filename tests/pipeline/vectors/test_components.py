"""Connected components against scipy.ndimage, class by class."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from segment_tiles.pipeline.vectors.geometry.components import label_components, union
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection

ALL = ClassSelection(None, ())
SHAPES = st.tuples(st.integers(1, 15), st.integers(1, 15))


@pytest.mark.parametrize("connectivity", [4, 8])
@given(
    codes=SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 2))), data=st.data()
)
def test_components_are_those_of_each_class(connectivity, codes, data):
    confidence = data.draw(arrays(np.uint8, codes.shape))
    found = label_components(codes, ALL, connectivity, confidence)
    structure = np.ones((3, 3)) if connectivity == 8 else None
    number = 0
    for code in np.unique(codes):
        labels, count = scipy.ndimage.label(codes == code, structure)
        number += count
        for label in range(1, count + 1):
            inside = labels == label
            (own,) = np.unique(found.labels[inside])
            assert (found.labels == own).sum() == inside.sum() == found.pixels[own - 1]
            assert found.codes[own - 1] == code
            assert found.first_pixels[own - 1] == np.flatnonzero(inside)[0]
            assert found.confidence_sums[own - 1] == confidence[inside].sum()
    assert len(found.codes) == number
    assert (np.diff(found.first_pixels) > 0).all()


def test_excluded_classes_have_no_label():
    codes = np.array([[0, 1, 1], [2, 2, 1]])
    found = label_components(codes, ClassSelection(wanted=(1, 2), unwanted=(2,)), 4)
    assert found.labels.tolist() == [[0, 1, 1], [0, 0, 1]]
    assert found.codes.tolist() == [1]


@given(st.data(), st.integers(0, 60))
def test_union_finds_the_components_that_scipy_finds(data, nodes: int) -> None:
    node = st.integers(0, max(nodes - 1, 0))
    pairs = np.array(
        data.draw(st.lists(st.tuples(node, node), max_size=120 if nodes else 0)), np.int64
    ).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(nodes, nodes))
    expected = connected_components(graph, directed=False)[1] if nodes else np.empty(0)
    assert union((pairs[:, 0], pairs[:, 1]), nodes).tolist() == expected.tolist()


def test_union_follows_chains():
    groups = union((np.array([0, 1, 4]), np.array([1, 2, 5])), 6)
    assert groups.tolist() == [0, 0, 0, 1, 2, 2]
