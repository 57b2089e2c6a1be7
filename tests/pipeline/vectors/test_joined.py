"""Outlines joined across seams: those of the whole raster, and the union that GEOS makes of the pieces."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.geometry.components import label_components
from segment_tiles.pipeline.vectors.geometry.join import join_pieces
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection
from segment_tiles.pipeline.vectors.tracing.corners import connected_outlines
from segment_tiles.pipeline.vectors.tracing.joined import joined_outlines

Pieces = tuple[NDArray[np.object_], NDArray[np.int64]]

SIDES = st.integers(1, 24)
CODES = st.builds(
    lambda classes, height, width, seed: np.random.default_rng(seed).integers(
        0, classes + 1, (height, width), dtype=np.uint8
    ),
    st.integers(1, 3),
    SIDES,
    SIDES,
    st.integers(0, 2**32),
)
"""Noise: of few classes its areas wind through many tiles, and touch themselves at corners."""


def labels_of(codes: NDArray[np.integer]) -> NDArray[np.int32]:
    """Label the areas of all codes but 0."""
    return label_components(codes, ClassSelection(None, (0,)), 4).labels


def pieces_of(labels: NDArray[np.int32], side: int) -> Pieces:
    """Return the pieces of all areas in tiles, and the area of each."""
    polygons, areas = [np.empty(0, np.object_)], [np.empty(0, np.int64)]
    for row in range(0, labels.shape[0], side):
        for column in range(0, labels.shape[1], side):
            tile = labels[row : row + side, column : column + side]
            pieces = labels_of(tile)
            owners, outlines = connected_outlines(pieces)
            _, first = np.unique(pieces, return_index=True)
            polygons.append(shapely.transform(outlines, lambda xy, at=(column, row): xy + at))
            areas.append(tile.ravel()[first[-len(owners) :]].astype(np.int64) - 1 if len(owners) else owners)
    return np.concatenate(polygons), np.concatenate(areas).astype(np.int64)


def same(found: NDArray[np.object_], wanted: NDArray[np.object_]) -> bool:
    """Return whether geometries have the same vertices in one canonical order."""
    one, other = (shapely.to_wkb(shapely.normalize(polygons)) for polygons in (found, wanted))
    return one.tolist() == other.tolist()


@given(CODES, st.integers(1, 9), st.data())
def test_noise_is_joined_as_the_whole_raster_is_traced(codes: NDArray[np.uint8], side: int, data) -> None:
    labels = labels_of(codes)
    pieces, areas = pieces_of(labels, side)
    # neither the order of the pieces matters nor how their rings run
    order = np.array(data.draw(st.permutations(range(len(pieces)))), dtype=np.int64)
    pieces, areas = pieces[order], areas[order]
    turned = data.draw(arrays(np.bool_, len(pieces)))
    pieces[turned] = shapely.reverse(pieces[turned])
    _, whole = connected_outlines(labels)
    joined = joined_outlines(pieces, areas, side)
    assert shapely.is_valid(joined).all()
    assert same(joined, whole)
    assert same(joined, join_pieces(pieces, areas, side, exact=True))


def test_pieces_that_touch_at_a_corner_inside_a_tile() -> None:
    """Two pieces are one area beyond the seam: its outline parts at the corner where they touch."""
    codes = np.array([[1, 0, 1, 1], [0, 1, 1, 1], [0, 1, 0, 1], [0, 1, 1, 1]])
    codes = np.block([[codes, codes[::-1]], [codes[:, ::-1], codes]])
    labels = labels_of(codes)
    for side in (2, 3, 4):
        pieces, areas = pieces_of(labels, side)
        assert same(joined_outlines(pieces, areas, side), connected_outlines(labels)[1])


def test_one_area_in_all_tiles() -> None:
    """The ground around many blots, with holes inside tiles, across seams and where four tiles meet."""
    blots = np.random.default_rng(3).random((300, 260)) < 0.3
    labels = labels_of(1 - np.kron(blots, np.ones((3, 3), int))[:777, :600])
    pieces, areas = pieces_of(labels, 100)
    joined = joined_outlines(pieces, areas, 100)
    assert same(joined, connected_outlines(labels)[1])
    assert shapely.area(joined).sum() == np.count_nonzero(labels)


def test_no_pieces() -> None:
    assert len(joined_outlines(np.empty(0, np.object_), np.empty(0, np.int64), 8)) == 0
