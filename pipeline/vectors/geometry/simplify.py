"""Simplification of shared borders within a distance: Douglas-Peucker that never crosses a border."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.geometry.arcs import Arcs, Marks, Numbers, arcs_of
from segment_tiles.pipeline.vectors.geometry.rings import Polygons
from segment_tiles.pipeline.vectors.tracing.ring_order import ranks

CHORDS_AT_ONCE = 65_536
"""Chords that are looked up at once: each is an object while it is."""


def simplify_coverage(polygons: Polygons, nodes: Marks, tolerance: float) -> Polygons:
    """Return the polygons of a coverage with fewer vertices; they are a coverage again.

    Every border stays within the tolerance of where it was (Hausdorff distance), which is what
    Douglas-Peucker promises; nodes stay; no polygon vanishes or changes its neighbours.

    ::

        o--+                  Section: the vertices from one kept vertex to the next, replaced by
           +--+               one chord. It may stay if
              +--+              - no vertex of it is farther from the chord than the tolerance,
                 +--o           - the chord meets no other chord,
                                - no node lies between it and its chord: nothing is jumped over.
                              Else its farthest vertex is kept as well, and both halves are judged.

    Parameters
    ----------
    polygons : array of Polygons
        A coverage of pixel corners, with the same vertices on both sides of every border.
    nodes : array (rows + 1) x (columns + 1) of bool
        True at every pixel corner that has to stay.
    tolerance : float
        Distance in pixels, more than 0.
    """
    arcs = arcs_of(polygons, nodes)
    kept = _douglas_peucker(arcs, tolerance) | _corners_of_lenses(arcs)
    while True:
        kept = _untangled(arcs, kept, tolerance)
        simple = arcs.keep(kept)
        result = simple.polygons()
        # The rings of a coverage cancel out along every common arc, whatever became of the arcs. So
        # their winding numbers sum up to 1 everywhere; where all polygons are valid and none is
        # turned over, each winding number is 0 or 1, and each point belongs to exactly one polygon.
        wrong = ~shapely.is_valid(result) | _is_turned_over(arcs, simple)
        if not wrong.any():
            return result
        kept |= _vertices_of(arcs, wrong)  # never seen so far; exact pixel edges are always right


def _douglas_peucker(arcs: Arcs, tolerance: float) -> Marks:
    """Return the vertices that each arc keeps when it is simplified alone."""
    owners = arcs.owners
    lines = shapely.linestrings(arcs.vertices.astype(np.float64), indices=owners)
    simple, owner = shapely.get_coordinates(
        shapely.simplify(lines, tolerance, preserve_topology=False), return_index=True
    )
    corners = int(arcs.numbers.max()) + 1
    names = owner * corners + arcs.numbers_of(simple.astype(np.int64))
    return np.isin(owners * corners + arcs.numbers, names)  # no arc passes a vertex twice


def _corners_of_lenses(arcs: Arcs) -> Marks:
    """Mark the farthest vertex of each arc between two nodes that another arc joins as well.

    Such are the halves of every ring that meets nothing else. If only one half keeps a vertex, a
    small round feature becomes a triangle with half its area; so it keeps four corners at least.
    """
    whole = _sections(arcs, _ends(arcs))
    ends = np.sort([arcs.numbers[whole.first], arcs.numbers[whole.last]], axis=0)
    _, pair, count = np.unique(ends, axis=1, return_inverse=True, return_counts=True)
    _, farthest = _farthest(arcs.vertices, whole.take((count[pair] > 1) & whole.is_simplified))
    marks = np.zeros(len(arcs.vertices), dtype=np.bool_)
    marks[farthest] = True
    return marks


@dataclass(frozen=True, slots=True)
class _Sections:
    """Pieces of arcs from one kept vertex to the next."""

    first: Numbers
    """Position of the first vertex among the vertices of all arcs."""
    last: Numbers
    """Position of the last vertex."""

    @property
    def is_simplified(self) -> Marks:
        """True if vertices between first and last are left out."""
        return self.last > self.first + 1

    def take(self, chosen: Marks | Numbers) -> _Sections:
        return _Sections(self.first[chosen], self.last[chosen])

    def chords(self, vertices: Numbers) -> NDArray[np.object_]:
        """Return the line of each section."""
        return np.asarray(shapely.linestrings(np.stack([vertices[self.first], vertices[self.last]], axis=1)))


def _untangled(arcs: Arcs, kept: Marks, tolerance: float) -> Marks:
    """Keep further vertices until every section may stay."""
    kept = kept.copy()
    sections = _sections(arcs, kept)
    is_new = np.ones(len(sections.first), dtype=np.bool_)
    nodes = np.unique(arcs.vertices[_ends(arcs)], axis=0)
    node_tree = shapely.STRtree(np.asarray(shapely.points(nodes)))
    while is_new.any():
        bad = _meets_another(arcs.vertices, sections, is_new)
        judged = np.flatnonzero(is_new & sections.is_simplified)
        bad[judged] |= _jumps(arcs.vertices, sections.take(judged), node_tree)
        distance, farthest = _farthest(arcs.vertices, sections.take(judged))
        bad[judged] |= distance > tolerance
        bad &= sections.is_simplified
        split = sections.take(bad)
        _, farthest = _farthest(arcs.vertices, split)
        kept[farthest] = True
        sections = _sections(arcs, kept)
        is_new = np.isin(sections.first, np.concatenate([split.first, farthest]))
    return kept


def _ends(arcs: Arcs) -> Marks:
    """Mark the first and the last vertex of each arc."""
    marks = np.zeros(len(arcs.vertices), dtype=np.bool_)
    marks[arcs.offsets[:-1]] = True
    marks[arcs.offsets[1:] - 1] = True
    return marks


def _sections(arcs: Arcs, kept: Marks) -> _Sections:
    positions = np.flatnonzero(kept)
    owners = arcs.owners[positions]
    is_same = owners[:-1] == owners[1:]
    return _Sections(positions[:-1][is_same], positions[1:][is_same])


def _meets_another(vertices: Numbers, sections: _Sections, is_new: Marks) -> Marks:
    """Mark the sections whose chord meets another one, one of the two new, elsewhere than in a common end."""
    marks = np.zeros(len(is_new), dtype=np.bool_)
    # exact pixel edges never meet: one of the two has to be simplified
    for in_tree, asked in (
        (sections.is_simplified, is_new),
        (sections.is_simplified & is_new, ~is_new),
    ):
        members = np.flatnonzero(in_tree)
        tree = shapely.STRtree(sections.take(members).chords(vertices))
        every = np.flatnonzero(asked)
        for start in range(0, len(every) if len(members) else 0, CHORDS_AT_ONCE):
            some = every[start : start + CHORDS_AT_ONCE]
            query, found = tree.query(sections.take(some).chords(vertices), predicate="intersects")
            one, other = some[query], members[found]
            one, other = one[one != other], other[one != other]
            is_met = ~_meet_in_one_end(vertices, sections, one, other)
            marks[one[is_met]] = True
            marks[other[is_met]] = True
    return marks


def _meet_in_one_end(vertices: Numbers, sections: _Sections, one: Numbers, other: Numbers) -> Marks:
    """Return True for pairs of chords that share one end and go different ways from there."""
    ends = [vertices[sections.first], vertices[sections.last]]
    result = np.zeros(len(one), dtype=np.bool_)
    shared = np.zeros(len(one), dtype=np.int64)
    for near, far in ((0, 1), (1, 0)):
        for beside, beyond in ((0, 1), (1, 0)):
            is_common = (ends[near][one] == ends[beside][other]).all(axis=1)
            along = ends[far][one] - ends[near][one]
            across = ends[beyond][other] - ends[beside][other]
            is_parallel = along[:, 0] * across[:, 1] == along[:, 1] * across[:, 0]
            is_same_way = is_parallel & ((along * across).sum(axis=1) > 0)
            shared += is_common
            result |= is_common & ~is_same_way
    return np.asarray(result & (shared == 1))


def _jumps(vertices: Numbers, sections: _Sections, nodes: shapely.STRtree) -> Marks:
    """Mark the simplified sections that have a node between them and their chord."""
    sizes = sections.last - sections.first + 2
    vertex_at = np.repeat(sections.first, sizes) + ranks(sizes)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    vertex_at[offsets[1:] - 1] = sections.first  # closed by the chord
    between = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON,
        vertices[vertex_at].astype(np.float64),
        (offsets, np.arange(len(offsets))),
    )
    # sections cross their chords: what lies between is told by the parity of crossings
    jumping, _ = nodes.query(between, predicate="contains_properly")
    marks = np.zeros(len(between), dtype=np.bool_)
    marks[jumping] = True
    return marks


def _farthest(vertices: Numbers, sections: _Sections) -> tuple[NDArray[np.float64], Numbers]:
    """Return the distance, and the position, of the vertex of each simplified section farthest from its chord."""
    sizes = sections.last - sections.first - 1
    if len(sizes) == 0:
        return np.empty(0), np.empty(0, np.int64)
    vertex_at = np.repeat(sections.first, sizes) + 1 + ranks(sizes)
    start, end = (np.repeat(vertices[at], sizes, axis=0) for at in (sections.first, sections.last))
    along, away = end - start, vertices[vertex_at] - start
    share = (along * away).sum(axis=1) / (along**2).sum(axis=1)
    distance = np.hypot(*(away - np.clip(share, 0, 1)[:, None] * along).T)
    section = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((-vertex_at, distance, section))  # of several the first
    chosen = order[np.cumsum(sizes) - 1]
    return distance[chosen], vertex_at[chosen]


def _rings_signs(arcs: Arcs) -> NDArray[np.float64]:
    """Return the sign of the area of each ring: the sum of the cross products of its edges."""
    start, end = arcs.vertices[:-1], arcs.vertices[1:]
    cross = np.concatenate([[0], np.cumsum(start[:, 0] * end[:, 1] - start[:, 1] * end[:, 0])])
    of_arc = cross[arcs.offsets[1:] - 1] - cross[arcs.offsets[:-1]]
    along_rings = np.where(arcs.backwards, -1, 1) * of_arc[arcs.ring_arcs]
    return np.sign(np.add.reduceat(along_rings, arcs.ring_offsets[:-1]))


def _is_turned_over(arcs: Arcs, simple: Arcs) -> Marks:
    """Return True for polygons with a ring that runs the other way than it did."""
    is_turned = _rings_signs(arcs) != _rings_signs(simple)
    return np.asarray(np.logical_or.reduceat(is_turned, arcs.polygon_offsets[:-1]))


def _vertices_of(arcs: Arcs, polygons: Marks) -> Marks:
    """Mark all vertices of the arcs of some polygons."""
    rings = np.repeat(polygons, np.diff(arcs.polygon_offsets))
    chosen = np.zeros(len(arcs.offsets) - 1, dtype=np.bool_)
    chosen[arcs.ring_arcs[np.repeat(rings, np.diff(arcs.ring_offsets))]] = True
    return chosen[arcs.owners]
