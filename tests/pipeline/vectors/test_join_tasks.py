"""The division of features across seams among tiles: as if each tile had looked for its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.vectors.geometry.attributes import Attributes
from segment_tiles.pipeline.vectors.geometry.seams import JoinedFeatures
from segment_tiles.pipeline.vectors.join_tasks import join_tasks
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection
from segment_tiles.pipeline.vectors.tiling import VectorTiling

TILING = VectorTiling(30, 40, 10)
EVERY = ClassSelection(None, ())


def drawn(seed: int, features: int, pieces: int) -> JoinedFeatures:
    """Features with at least one piece each, in tiles in their order."""
    rng = np.random.default_rng(seed)
    count = max(features, pieces) if features else 0
    owner = np.concatenate([np.arange(features), rng.integers(0, max(features, 1), count - features)])
    attributes = Attributes(
        rng.integers(0, 5, features),
        rng.integers(1, 9, features),
        rng.choice(TILING.height * TILING.width, features, replace=False),
        rng.integers(0, 99, features),
        rng.random(features) < 0.5,
        rng.random(features) < 0.5,
    )
    return JoinedFeatures(
        attributes,
        np.sort(rng.integers(0, TILING.count, count)),
        rng.integers(1, 99, count, dtype=np.int32),
        rng.permutation(owner),
    )


@given(st.integers(0, 99), st.integers(0, 40), st.integers(0, 90), st.sampled_from([0, 3, 9]))
def test_every_feature_and_piece_has_one_home(seed: int, features: int, pieces: int, minimum: int) -> None:
    joined = drawn(seed, features, pieces)
    homes = TILING.numbers_of_pixels(joined.attributes.first_pixels)
    wanted = joined.attributes.pixels >= minimum
    tasks = join_tasks(TILING, joined, EVERY, PolygonizeOptions(minimum_area=minimum))
    assert [task.tile for task in tasks] == sorted(set(homes[wanted].tolist()))
    for task in tasks:
        own = np.flatnonzero((homes == task.tile) & wanted)
        parts = np.flatnonzero(np.isin(joined.piece_features, own))
        np.testing.assert_array_equal(task.attributes.first_pixels, joined.attributes.take(own).first_pixels)
        np.testing.assert_array_equal(task.piece_tiles, joined.piece_tiles[parts])
        np.testing.assert_array_equal(task.piece_labels, joined.piece_labels[parts])
        np.testing.assert_array_equal(own[task.piece_features], joined.piece_features[parts])
        by_tile = task.pieces_by_tile()
        assert [number for number, _ in by_tile] == np.unique(task.piece_tiles).tolist()
        for number, here in by_tile:
            assert (task.piece_tiles[here] == number).all()
        assert sum(here.stop - here.start for _, here in by_tile) == len(parts)


@pytest.mark.parametrize("minimum", [0, 10])
def test_a_raster_without_features_has_no_task(minimum: int) -> None:
    options = PolygonizeOptions(minimum_area=minimum)
    assert join_tasks(TILING, drawn(0, 0, 0), EVERY, options) == []
    assert minimum == 0 or join_tasks(TILING, drawn(0, 5, 9), EVERY, options) == []
