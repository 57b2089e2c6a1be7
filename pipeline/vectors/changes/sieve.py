"""Sieve by whole components: what is too small takes the class of its largest neighbour.

The rule is that of GDAL's sieve filter: the largest neighbour, or where that is too small as well,
the largest neighbour of that one, and so on; if no chain reaches a large component nothing
changes. Size is that of the whole component, however the raster is cut into tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.changes.surroundings import WholeComponents, adjacent_pairs
from segment_tiles.pipeline.vectors.geometry.attributes import Attributes

UNRESOLVED = -1


@dataclass(frozen=True, slots=True)
class SieveLinks:
    """What one tile knows of the small components at its seams: the largest neighbour of each."""

    numbers: NDArray[np.int64]
    """Number of the small component at seams."""
    neighbour_pixels: NDArray[np.int64]
    """Size of its largest neighbour in this tile."""
    neighbour_first_pixels: NDArray[np.int64]
    """First pixel of that neighbour; the smaller one wins between equal sizes."""
    target_numbers: NDArray[np.int64]
    """Component at seams where the chain leaves this tile, or UNRESOLVED."""
    target_codes: NDArray[np.int64]
    """Class of the large component where the chain ends in this tile, valid where ``ends``."""
    ends: NDArray[np.bool_]
    """True where the chain ends at a large component."""


@dataclass(frozen=True, slots=True)
class SieveTable:
    """The outcome for every component at seams."""

    codes: NDArray[np.int64]
    """New class of each component."""
    changed: NDArray[np.bool_]
    """True where a large component was reached; others keep their class."""


def sieve_links(components: WholeComponents, threshold: int) -> SieveLinks:
    """Return the largest neighbours of the small components at seams that this tile sees."""
    attributes = components.attributes
    best, has_neighbour = _largest_neighbours(components)
    end = _chain_ends(components, best, has_neighbour, threshold)
    chosen = np.flatnonzero((components.numbers >= 0) & (attributes.pixels < threshold) & has_neighbour)
    target = end[best[chosen]]
    is_large = attributes.pixels[target] >= threshold
    return SieveLinks(
        components.numbers[chosen],
        attributes.pixels[best[chosen]],
        attributes.first_pixels[best[chosen]],
        np.where(is_large, UNRESOLVED, components.numbers[target]),
        attributes.codes[target],
        is_large,
    )


def resolve_sieve(attributes: Attributes, tiles: Sequence[SieveLinks], threshold: int) -> SieveTable:
    """Return the outcome for all components at seams, from what every tile saw of them."""
    numbers, pixels, first, targets, codes, ends = (
        np.concatenate([getattr(tile, name) for tile in tiles]) for name in SieveLinks.__slots__
    )
    order = np.lexsort((-first, pixels, numbers))
    last = np.concatenate([numbers[order][1:] != numbers[order][:-1], [True]])[: len(order)]
    winner = order[last]
    grows = _is_larger(pixels[winner], first[winner], attributes.take(numbers[winner]))
    winner = winner[grows]
    count = len(attributes)
    pointer = np.arange(count)
    has_target = targets[winner] >= 0
    pointer[numbers[winner[has_target]]] = targets[winner[has_target]]
    new_codes, changed = attributes.codes.copy(), attributes.pixels >= threshold
    new_codes[numbers[winner[ends[winner]]]] = codes[winner[ends[winner]]]
    changed[numbers[winner[ends[winner]]]] = True
    pointer = _follow(pointer)
    return SieveTable(np.where(changed[pointer], new_codes[pointer], attributes.codes), changed[pointer])


def sieved_codes(components: WholeComponents, threshold: int, table: SieveTable) -> NDArray[np.int64]:
    """Return the new code of each component of a tile; ``table`` is of its own components at seams."""
    attributes = components.attributes
    at_seams = len(table.codes)
    end = _chain_ends(components, *_largest_neighbours(components), threshold)
    end[:at_seams] = np.arange(at_seams)
    is_large = attributes.pixels >= threshold
    new_codes = attributes.codes.copy()
    new_codes[:at_seams] = table.codes
    reached = is_large.copy()
    reached[:at_seams] = table.changed
    return np.where(reached[end], new_codes[end], attributes.codes)


def _largest_neighbours(components: WholeComponents) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the largest neighbour of each component, and whether it has one."""
    attributes = components.attributes
    count = len(attributes)
    by_size = np.lexsort((-attributes.first_pixels, attributes.pixels))
    rank = np.empty(count, dtype=np.int64)
    rank[by_size] = np.arange(count)
    best = np.full(count, -1, dtype=np.int64)
    one, other = adjacent_pairs(components)
    np.maximum.at(best, one, rank[other])
    has_neighbour = best >= 0
    return by_size[best], has_neighbour


def _chain_ends(
    components: WholeComponents,
    best: NDArray[np.int64],
    has_neighbour: NDArray[np.bool_],
    threshold: int,
) -> NDArray[np.int64]:
    """Return where the chain of largest neighbours ends: a large component, or one at a seam."""
    attributes = components.attributes
    inside = (components.numbers < 0) & (attributes.pixels < threshold) & has_neighbour
    best_attributes = attributes.take(best)
    goes_on = inside & _is_larger(best_attributes.pixels, best_attributes.first_pixels, attributes)
    return _follow(np.where(goes_on, best, np.arange(len(attributes))))


def _is_larger(
    pixels: NDArray[np.int64], first_pixels: NDArray[np.int64], than: Attributes
) -> NDArray[np.bool_]:
    """Return True where a component is larger, or equal and begins earlier."""
    is_first = (pixels == than.pixels) & (first_pixels < than.first_pixels)
    return np.asarray((pixels > than.pixels) | is_first)


def _follow(pointer: NDArray[np.int64]) -> NDArray[np.int64]:
    """Follow pointers to their ends, doubling the step."""
    while True:
        further = pointer[pointer]
        if np.array_equal(further, pointer):
            return pointer
        pointer = further
