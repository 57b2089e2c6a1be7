"""The two steps that a worker does for a vector tile: trace it, and join what crosses its seams."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.arrow_columns import (
    bytes_column,
    bytes_of,
    number_column,
    numbers_of,
)
from segment_tiles.pipeline.vectors.geometry.attributes import Attributes
from segment_tiles.pipeline.vectors.geometry.features import FeatureBuilder
from segment_tiles.pipeline.vectors.geometry.join import join_pieces
from segment_tiles.pipeline.vectors.geometry.objects.attributes import ObjectAttributes
from segment_tiles.pipeline.vectors.geometry.objects.sheaths import MeasuredSheaths, Sheaths
from segment_tiles.pipeline.vectors.geometry.objects.values import (
    Values,
    statistics_of,
    value_columns,
    values_of_labels,
)
from segment_tiles.pipeline.vectors.geometry.pieces import TilePieces, tile_pieces
from segment_tiles.pipeline.vectors.geometry.right_angles import right_angled
from segment_tiles.pipeline.vectors.geometry.rings import Polygons
from segment_tiles.pipeline.vectors.join_tasks import JoinTask
from segment_tiles.pipeline.vectors.objects.rules import code_rules, feature_selection
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec, RasterName
from segment_tiles.pipeline.vectors.rasters.measured_raster import MeasuredRaster
from segment_tiles.pipeline.vectors.rasters.opening import open_class_raster
from segment_tiles.pipeline.vectors.rasters.selection import class_codes
from segment_tiles.pipeline.vectors.tile_ledger import TileLedger
from segment_tiles.pipeline.vectors.tiling import VectorTile, VectorTiling
from segment_tiles.pipeline.vectors.tracing.joined import joined_outlines


@dataclass(frozen=True, slots=True)
class TileSetup:
    """What a worker needs to know; small, and pickled once for each worker."""

    raster: RasterName
    """The class raster."""
    codes: Path | None
    """Changed codes, of objects identities, or None for those of the raster."""
    ledger: Path
    """Folder of the ledger."""
    options: PolygonizeOptions
    """What is asked for."""
    sheaths: Path | None = None
    """File of the sheaths of objects; None: no rule has one."""


class TileWorker:
    """Does the work of vector tiles, with its own handle on the raster."""

    def __init__(self, setup: TileSetup) -> None:
        self._options = setup.options
        self._raster = open_class_raster(
            setup.raster,
            setup.codes,
            band=setup.options.band,
            reclass=setup.options.reclass,
            mask=setup.options.mask,
        )
        spec = self._raster.spec
        self._selection = feature_selection(spec, setup.options)
        self._right_angled_codes = [
            code for name in setup.options.right_angles for code in class_codes(spec, name)
        ]
        self.tiling = VectorTiling(spec.height, spec.width, setup.options.vector_tile)
        self._ledger = TileLedger(setup.ledger)
        self._measured = (
            None if setup.options.measure is None else MeasuredRaster(setup.options.measure, spec)
        )
        values = () if self._measured is None else value_columns(self._measured.bands)
        sheaths = _measured_sheaths(spec, setup)
        self._builder = FeatureBuilder.of(spec, exact=setup.options.is_exact, values=values, sheaths=sheaths)

    def pixels_of(self, number: int) -> Window:
        """Return the pixels of the raster that tracing a tile reads: its own, and those beside it."""
        return self.tiling.numbered(number).window.grow(1).intersect(self._raster.spec.window)

    def trace(self, number: int) -> int:
        """Polygonise one tile into the ledger; return its number."""
        tile = self.tiling.numbered(number)
        pieces = tile_pieces(self._raster, tile.window, self._selection, self._options)
        geometries = self._with_right_angles(pieces.interior, pieces.interior_geometries)
        bands = self._values(pieces, tile.window)
        inside = np.arange(len(pieces.interior))
        own = [band.of(pieces.interior_labels - 1, inside) for band in bands]
        statistics = statistics_of(own, len(inside)) if bands else None
        whole = self._builder.rows(pieces.interior, geometries, tile.window, statistics)
        kept = pieces.seams.labels.astype(np.int64) - 1
        at_seams_values = [band.of(kept, kept) for band in bands]
        at_seams = pa.RecordBatch.from_pydict(
            {
                "label": number_column(pieces.seams.labels, pa.int32()),
                "geometry": bytes_column(shapely.to_wkb(pieces.seam_geometries), pa.large_binary()),
            }
        )
        self._ledger.finish_tile(tile, whole, at_seams, pieces.seams, at_seams_values)
        return number

    def join(self, task: JoinTask) -> int:
        """Join the features of one tile into the ledger; return its number."""
        geometries, features = self._read_pieces(task)
        joined = self._with_right_angles(task.attributes, self._joined(geometries, features))
        values = self._joined_values(task)
        rows = self._builder.rows(task.attributes, joined, self._raster.spec.window, values)
        self._ledger.finish_joined(self.tiling.numbered(task.tile), rows)
        return task.tile

    def _values(self, pieces: TilePieces, window: Window) -> list[Values]:
        """Return the values of each band under the objects of a tile, not under areas; none if nothing is measured."""
        if self._measured is None:
            return []
        return values_of_labels(_object_labels(pieces), *self._measured.read(window))

    def _joined_values(self, task: JoinTask) -> NDArray[np.float64] | None:
        """Return the statistics of values under the features of a task; None if nothing is measured."""
        if self._measured is None:
            return None
        bands: list[list[Values]] = [[] for _ in range(self._measured.bands)]
        for number, here in task.pieces_by_tile():
            labels, order = task.piece_labels[here], np.argsort(task.piece_labels[here])
            found = self._ledger.read_values(self.tiling.numbered(number))
            for band, values in zip(bands, found, strict=True):
                band.append(values.of(labels[order] - 1, task.piece_features[here][order]))
        return statistics_of([Values.concatenate(band) for band in bands], len(task.attributes))

    def _joined(self, geometries: Polygons, features: NDArray[np.int64]) -> Polygons:
        """Return the geometry of each feature from those of its pieces."""
        if self._options.links_corners:
            return joined_outlines(geometries, features, self.tiling.side)
        return join_pieces(geometries, features, self.tiling.side, exact=self._options.keeps_pixel_edges)

    def _with_right_angles(self, attributes: Attributes, geometries: Polygons) -> Polygons:
        """Return the geometries, right-angled in the classes that ask for it."""
        chosen = np.isin(attributes.codes, self._right_angled_codes)
        if not chosen.any():
            return geometries
        result = geometries.copy()
        result[chosen] = right_angled(geometries[chosen], self._options.simplify)
        return result

    def _read_pieces(self, task: JoinTask) -> tuple[Polygons, NDArray[np.int64]]:
        """Return the geometries of all pieces, and the feature of each."""
        geometries, features = [np.empty(0, np.object_)], [np.empty(0, np.int64)]
        for number, here in task.pieces_by_tile():
            tile: VectorTile = self.tiling.numbered(number)
            with pa.memory_map(str(self._ledger.pieces(tile))) as file:
                table = pa.ipc.open_file(file).read_all()
                rows = np.searchsorted(numbers_of(table["label"]), task.piece_labels[here])
                wkb = bytes_of(table["geometry"].take(number_column(rows, pa.int64())))
            geometries.append(shapely.from_wkb(wkb))
            features.append(task.piece_features[here])
        return np.concatenate(geometries), np.concatenate(features)

    def close(self) -> None:
        """Close the rasters."""
        self._raster.close()
        if self._measured is not None:
            self._measured.close()


def _measured_sheaths(spec: ClassRasterSpec, setup: TileSetup) -> MeasuredSheaths | None:
    rules = code_rules(spec, setup.options)
    if setup.sheaths is None or rules is None:
        return None
    return MeasuredSheaths(Sheaths.read(setup.sheaths), rules.with_sheath)


def _object_labels(pieces: TilePieces) -> NDArray[np.int32]:
    """Return the labels of objects alone, rows x columns, 0 elsewhere: areas that are none may be as large as all."""
    kept = np.zeros(int(pieces.labels.max()) + 1, dtype=np.int32)
    for labels, attributes in (
        (pieces.interior_labels, pieces.interior),
        (pieces.seams.labels, pieces.seams.attributes),
    ):
        assert isinstance(attributes, ObjectAttributes)
        chosen = labels[attributes.are_objects]
        kept[chosen] = chosen
    return kept[pieces.labels]
