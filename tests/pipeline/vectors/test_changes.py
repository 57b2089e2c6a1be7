"""Majority, sieve and holes against slow, obvious programs."""

from collections import Counter

import numpy as np
import pytest
import scipy.ndimage
from array_class_raster import ArrayClassRaster
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segment_tiles.pipeline.vectors.changes.holes import fill_holes, resolve_holes, tile_holes
from segment_tiles.pipeline.vectors.changes.majority import majority_codes
from segment_tiles.pipeline.vectors.changes.sieve import SieveTable, resolve_sieve, sieve_links, sieved_codes
from segment_tiles.pipeline.vectors.changes.surroundings import all_surroundings, tile_seams, whole_components
from segment_tiles.pipeline.vectors.geometry.components import label_components
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection
from segment_tiles.pipeline.vectors.tiling import VectorTiling

NODATA = 9
CODES = arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 2, NODATA])
)
VALID = ClassSelection(None, (NODATA,))
EVERYTHING = ClassSelection(None, ())


@given(codes=CODES, side=st.sampled_from([3, 5]))
def test_majority_is_the_most_frequent_valid_class(codes, side):
    raster = ArrayClassRaster(codes, nodata=NODATA)
    result = majority_codes(raster, raster.spec.window, side)
    half = side // 2
    for row, column in np.ndindex(codes.shape):
        own = codes[row, column]
        around = codes[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
        votes = Counter(around[around != NODATA].tolist())
        if own == NODATA:
            assert result[row, column] == NODATA
        else:
            most = max(votes.values())
            winners = sorted(code for code, count in votes.items() if count == most)
            assert result[row, column] == (own if own in winners else winners[0])


def slow_sieve(codes, threshold, connectivity):
    """Components as sets of pixels; chains followed one by one (the rule of GDAL's sieve filter)."""
    found = label_components(codes, VALID, connectivity)
    labels = found.labels
    neighbours = {label: set() for label in range(1, len(found.codes) + 1)}
    for one, other in [
        *zip(labels[:-1].ravel(), labels[1:].ravel(), strict=True),
        *zip(labels[:, :-1].ravel(), labels[:, 1:].ravel(), strict=True),
    ]:
        if one != other and one and other:
            neighbours[one].add(other)
            neighbours[other].add(one)

    def rank(label):
        return found.pixels[label - 1], -found.first_pixels[label - 1]

    result = codes.copy()
    for label in neighbours:
        end = label
        while found.pixels[end - 1] < threshold and neighbours[end]:
            best = max(neighbours[end], key=rank)
            if rank(best) < rank(end):
                break
            end = best
        if found.pixels[end - 1] >= threshold:
            result[labels == label] = found.codes[end - 1]
    return result


def tiled_sieve(codes, threshold, connectivity, side):
    raster = ArrayClassRaster(codes, nodata=NODATA)
    tiling = VectorTiling(*codes.shape, side)
    seams = [tile_seams(raster, tile.window, VALID, connectivity) for tile in tiling]
    attributes, around = all_surroundings(tiling, seams, connectivity)
    wholes = [
        whole_components(raster, t.window, VALID, connectivity, a)
        for t, a in zip(tiling, around, strict=True)
    ]
    table = resolve_sieve(attributes, [sieve_links(whole, threshold) for whole in wholes], threshold)
    result = codes.copy()
    for tile, whole, near in zip(tiling, wholes, around, strict=True):
        own = SieveTable(table.codes[near.numbers], table.changed[near.numbers])
        new = np.append(sieved_codes(whole, threshold, own), 0)[whole.inner]
        result[tile.window.slices()] = np.where(whole.inner < 0, codes[tile.window.slices()], new)
    return result


@pytest.mark.parametrize("connectivity", [4, 8])
@given(codes=CODES, threshold=st.integers(1, 12), side=st.integers(1, 10))
def test_sieve_in_tiles_is_the_sieve_of_the_whole(connectivity, codes, threshold, side):
    assert (
        tiled_sieve(codes, threshold, connectivity, side) == slow_sieve(codes, threshold, connectivity)
    ).all()


def slow_fill(codes, limit, connectivity, selection):
    """Flood each group of small components and look at what is around it."""
    found = label_components(codes, EVERYTHING, connectivity)
    small = (found.pixels < limit)[found.labels - 1]
    groups, count = scipy.ndimage.label(small)
    result = codes.copy()
    for group in range(1, count + 1):
        inside = groups == group
        rim = scipy.ndimage.binary_dilation(inside) & ~inside
        at_edge = inside[[0, -1]].any() or inside[:, [0, -1]].any()
        around = np.unique(found.labels[rim])
        if at_edge or inside.sum() >= limit or len(around) != 1:
            continue
        code = found.codes[around[0] - 1]
        if selection.selects(np.array([code]))[0]:
            result[inside] = code
    return result


def tiled_fill(codes, limit, connectivity, selection, side):
    raster = ArrayClassRaster(codes, nodata=NODATA)
    tiling = VectorTiling(*codes.shape, side)
    seams = [tile_seams(raster, tile.window, EVERYTHING, connectivity) for tile in tiling]
    _, around = all_surroundings(tiling, seams, connectivity)
    holes = [
        tile_holes(
            whole_components(raster, t.window, EVERYTHING, connectivity, a), raster.spec, t.window, limit
        )
        for t, a in zip(tiling, around, strict=True)
    ]
    rims = [hole.rims.take(hole.on_seam) for hole in holes]
    filling = resolve_holes(tiling, [hole.seams for hole in holes], rims, limit, selection)
    result = codes.copy()
    for tile, hole, fill in zip(tiling, holes, filling, strict=True):
        here = tile.window.slices()
        result[here] = fill_holes(codes[here], hole, fill, limit, selection)
    return result


@pytest.mark.parametrize("connectivity", [4, 8])
@given(codes=CODES, limit=st.integers(1, 10), side=st.integers(1, 10))
# nodata goes on across a seam, corner to corner; and as a large area beside a hole
@example(codes=np.array([[9, 0, 0], [0, 9, 0], [0, 0, 0]], dtype=np.uint8), limit=2, side=1)
@example(
    codes=np.array(
        [[9, 1, 9, 1, 0, 1], [1, 1, 1, 9, 9, 9], [9, 1, 0, 9, 9, 9], [9, 9, 9, 1, 1, 9], [9, 1, 0, 9, 1, 1]],
        dtype=np.uint8,
    ),
    limit=4,
    side=3,
)
def test_holes_filled_in_tiles_are_those_of_the_whole(connectivity, codes, limit, side):
    selection = ClassSelection(None, (NODATA, 2))
    expected = slow_fill(codes, limit, connectivity, selection)
    assert (tiled_fill(codes, limit, connectivity, selection, side) == expected).all()
