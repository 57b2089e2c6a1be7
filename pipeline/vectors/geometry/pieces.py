"""One vector tile: whole features, and the pieces of features that touch its seams."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.geometry.attributes import Attributes, kept_features
from segment_tiles.pipeline.vectors.geometry.components import Components, label_components
from segment_tiles.pipeline.vectors.geometry.objects.attributes import ObjectAttributes, object_attributes
from segment_tiles.pipeline.vectors.geometry.objects.labels import ObjectSelection, label_objects, touching
from segment_tiles.pipeline.vectors.geometry.rings import (
    Polygons,
    gather_parts,
    insert_vertices,
    junctions,
)
from segment_tiles.pipeline.vectors.geometry.simplify import simplify_coverage
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRaster, ClassRasterSpec
from segment_tiles.pipeline.vectors.rasters.identities import is_object
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection
from segment_tiles.pipeline.vectors.tracing.corners import connected_outlines
from segment_tiles.pipeline.vectors.tracing.trace import trace_outlines

NO_FEATURE = 0
"""Label, on the sides of a tile, of pixels that belong to no feature."""
NODATA = -1
"""Label, on the sides of a tile, of nodata pixels."""


@dataclass(frozen=True, slots=True)
class SeamPieces:
    """The pieces of a tile that touch a seam, and what its four sides look like."""

    labels: NDArray[np.int32]
    """Label of each piece, ascending."""
    attributes: Attributes
    """Attributes of each piece."""
    top: NDArray[np.int32]
    """Label of each pixel of the first row, ``NO_FEATURE`` or ``NODATA``."""
    bottom: NDArray[np.int32]
    """The same of the last row."""
    left: NDArray[np.int32]
    """The same of the first column."""
    right: NDArray[np.int32]
    """The same of the last column."""
    contact_pieces: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Of objects that touch inside the tile: which of the pieces, ascending; each as often as it touches another."""
    contact_identities: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Identity of the object that it touches."""


@dataclass(frozen=True, slots=True)
class TilePieces:
    """Everything that a vector tile gives."""

    interior: Attributes
    """Features that touch no seam: they are whole."""
    interior_geometries: Polygons
    """Their geometries, in pixels of the tile."""
    seams: SeamPieces
    """Pieces that may go on in a neighbouring tile."""
    seam_geometries: Polygons
    """Their geometries, in pixels of the raster, in the order of ``seams.labels``."""
    labels: NDArray[np.int32]
    """Of all these, rows x columns; 0 where none is."""
    interior_labels: NDArray[np.int64]
    """Label of each interior feature."""


def tile_pieces(
    raster: ClassRaster, window: Window, selection: ClassSelection, options: PolygonizeOptions
) -> TilePieces:
    """Polygonise one window of a class raster.

    Parameters
    ----------
    raster : ClassRaster
        Codes, and confidence if it has them.
    window : Window
        The tile.
    selection : ClassSelection
        Classes that become features.
    options : PolygonizeOptions
        Connectivity, minimum area of whole features, simplification.
    """
    codes = raster.read(window)
    confidence = raster.read_confidence(window) if raster.spec.has_confidence else None
    found = _found(codes, confidence, raster.spec, window, selection, options.connectivity)
    components, attributes = found.components, found.attributes
    on_seam = reaches_seam(components, raster.spec, window, found.margins)
    dropped = ~on_seam & ~kept_features(attributes, selection, options)
    labels = _without(components.labels, dropped)
    owner, polygons = _outlines(raster, window, labels, codes, options)
    geometries = gather_parts(polygons, owner - 1, len(attributes))
    interior = ~on_seam & ~dropped
    seams = seam_pieces(labels, codes, attributes, on_seam, raster.spec)
    if isinstance(attributes, ObjectAttributes):
        seams = _with_contacts(seams, found.contacts, attributes.identities, on_seam)
    at_seams = _moved(geometries[on_seam], window)
    inside = np.flatnonzero(interior) + 1
    return TilePieces(attributes.take(interior), geometries[interior], seams, at_seams, labels, inside)


class _Found(NamedTuple):
    """Components of a tile, as features or as objects."""

    components: Components
    attributes: Attributes
    margins: NDArray[np.int64] | int
    """Pixels from a seam within which each, or any, may go on beyond it."""
    contacts: tuple[NDArray[np.int64], NDArray[np.int64]]
    """Pairs of components that are objects and touch."""


def _found(
    codes: NDArray[np.integer],
    confidence: NDArray[np.uint8] | None,
    spec: ClassRasterSpec,
    window: Window,
    selection: ClassSelection,
    connectivity: int,
) -> _Found:
    if not isinstance(selection, ObjectSelection):
        components = label_components(codes, selection, connectivity, confidence)
        none = np.empty(0, dtype=np.int64)
        return _Found(components, attributes_in_tile(components, codes, spec, window), 1, (none, none))
    identities = codes.astype(np.int64, copy=False)
    components, of_each = label_objects(identities, selection, connectivity, confidence)
    base = attributes_in_tile(components, codes, spec, window)
    contacts = touching(components.labels, is_object(of_each))
    attributes = object_attributes(base, of_each, components, window, spec.width, contacts[0])
    return _Found(components, attributes, selection.identities.margins_of(of_each), contacts)


def _moved(geometries: Polygons, window: Window) -> Polygons:
    """Return geometries in pixels of the raster instead of those of the tile."""
    offset = np.array([window.column, window.row], dtype=np.float64)
    return np.asarray(shapely.transform(geometries, lambda coordinates: coordinates + offset))


def _without(labels: NDArray[np.int32], dropped: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the labels with 0 for the dropped components."""
    if not dropped.any():
        return labels
    kept = np.arange(len(dropped) + 1, dtype=np.int32)
    kept[1:][dropped] = NO_FEATURE
    return kept[labels]


def _outlines(
    raster: ClassRaster,
    window: Window,
    labels: NDArray[np.int32],
    codes: NDArray[np.integer],
    options: PolygonizeOptions,
) -> tuple[NDArray[np.int32], Polygons]:
    """Return the polygons of all labels, in pixels of the tile, simplified if asked for."""
    if options.links_corners:
        return connected_outlines(labels)
    if options.objects and options.keeps_pixel_edges:
        # an object may have several areas, and each label that is traced has one
        areas = label_components(labels, ClassSelection(None, (NO_FEATURE,)), 4)
        area, polygons = connected_outlines(areas.labels)
        return areas.codes[area - 1].astype(np.int32), polygons
    owner, polygons = trace_outlines(labels, with_unlabelled=options.simplify > 0)
    if options.simplify > 0:
        rows, columns = junctions(_with_surroundings(raster, window))
        polygons = insert_vertices(polygons, rows, columns, codes.shape)
        polygons = simplify_coverage(polygons, _nodes(rows, columns, codes.shape), options.simplify)
        owner, polygons = owner[owner > 0], polygons[owner > 0]
    return owner, polygons


def _nodes(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark the corners that simplification may not move: junctions, and the frame, so that tiles fit together."""
    nodes = np.ones((shape[0] + 1, shape[1] + 1), dtype=np.bool_)
    nodes[1:-1, 1:-1] = False
    nodes[rows, columns] = True
    return nodes


def _with_surroundings(raster: ClassRaster, window: Window) -> NDArray[np.int64]:
    """Return the codes of a window with one pixel more on every side; a code of its own outside."""
    outer = window.grow(1)
    inside = outer.intersect(raster.spec.window)
    result = np.full(outer.shape, np.iinfo(np.int64).min)
    result[inside.relative_to(outer).slices()] = raster.read(inside)
    return result


def attributes_in_tile(
    components: Components, codes: NDArray[np.integer], spec: ClassRasterSpec, window: Window
) -> Attributes:
    """Return the attributes of the components of a tile, as far as the tile knows them."""
    rows, columns = np.divmod(components.first_pixels, codes.shape[1])
    first = (rows + window.row) * spec.width + columns + window.column
    count = len(components.codes)
    return Attributes(
        components.codes,
        components.pixels,
        first,
        components.confidence_sums,
        _marked(_edge_labels(components.labels, spec, window), count),
        _marked(_labels_beside_nodata(components.labels, codes, spec.nodata), count),
    )


def _marked(labels: NDArray[np.int32], count: int) -> NDArray[np.bool_]:
    marks = np.zeros(count + 1, dtype=np.bool_)
    marks[labels] = True
    return marks[1:]


def _sides(values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Return the first row, the last row, the first column and the last column."""
    return values[0], values[-1], values[:, 0], values[:, -1]


def _is_raster_edge(spec: ClassRasterSpec, window: Window) -> tuple[bool, ...]:
    """Return whether the top, bottom, left and right side of a tile lie on the edge of the raster."""
    at_bottom, at_right = window.row_stop == spec.height, window.column_stop == spec.width
    return window.row == 0, at_bottom, window.column == 0, at_right


def _edge_labels(labels: NDArray[np.int32], spec: ClassRasterSpec, window: Window) -> NDArray[np.int32]:
    sides = zip(_sides(labels), _is_raster_edge(spec, window), strict=True)
    return np.concatenate([np.empty(0, np.int32), *(side for side, at_edge in sides if at_edge)])


def _seam_labels(
    labels: NDArray[np.int32], spec: ClassRasterSpec, window: Window, margin: int
) -> NDArray[np.int32]:
    bands = (labels[:margin], labels[-margin:], labels[:, :margin], labels[:, -margin:])
    sides = zip(bands, _is_raster_edge(spec, window), strict=True)
    return np.concatenate([np.empty(0, np.int32), *(side.ravel() for side, at_edge in sides if not at_edge)])


def _labels_beside_nodata(
    labels: NDArray[np.int32], codes: NDArray[np.integer], nodata: int | None
) -> NDArray[np.int32]:
    """Return the labels of pixels that share an edge with a nodata pixel of the same tile."""
    if nodata is None:
        return np.empty(0, dtype=np.int32)
    empty = codes == nodata
    if not empty.any():
        return np.empty(0, dtype=np.int32)
    return np.concatenate([
        labels[:-1][empty[1:]], labels[1:][empty[:-1]], labels[:, :-1][empty[:, 1:]], labels[:, 1:][empty[:, :-1]]
    ])  # fmt: skip


def reaches_seam(
    components: Components, spec: ClassRasterSpec, window: Window, margins: NDArray[np.int64] | int = 1
) -> NDArray[np.bool_]:
    """Return True for each component with a pixel in its margin along sides of a tile that are not the edge."""
    result = np.zeros(len(components.codes), dtype=np.bool_)
    for margin in np.unique(margins).tolist():
        beside = _marked(_seam_labels(components.labels, spec, window, margin), len(result))
        result |= beside & (margins == margin)
    return result


def _with_contacts(
    seams: SeamPieces,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    identities: NDArray[np.int64],
    on_seam: NDArray[np.bool_],
) -> SeamPieces:
    """Return the pieces at the seams with the objects that they touch inside the tile."""
    one, other = pairs
    here = on_seam[one]
    position = np.cumsum(on_seam) - 1
    return replace(seams, contact_pieces=position[one[here]], contact_identities=identities[other[here]])


def seam_pieces(
    labels: NDArray[np.int32],
    codes: NDArray[np.integer],
    attributes: Attributes,
    on_seam: NDArray[np.bool_],
    spec: ClassRasterSpec,
) -> SeamPieces:
    """Return the pieces at the seams of a tile, and its four sides."""
    seam_labels = (np.flatnonzero(on_seam) + 1).astype(np.int32)
    sides = []
    for side_labels, side_codes in zip(_sides(labels), _sides(codes), strict=True):
        side = side_labels.copy()
        if spec.nodata is not None:
            # if nodata is labelled too, as for holes, its pieces may go on in the next tile like all others
            side[(side_codes == spec.nodata) & (side_labels == NO_FEATURE)] = NODATA
        sides.append(side)
    return SeamPieces(seam_labels, attributes.take(on_seam), *sides)
