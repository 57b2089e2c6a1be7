"""Ledger of finished vector tiles: their part files, in a folder beside the output."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.outputs.finished_file import finished_file, write_failed
from segment_tiles.pipeline.vectors.attributes import Attributes
from segment_tiles.pipeline.vectors.parts import write_part
from segment_tiles.pipeline.vectors.pieces import SeamPieces
from segment_tiles.pipeline.vectors.tiling import VectorTile

RASTER_KEYS = {"raster", "raster_changed", "raster_bytes"}
"""Settings that say which raster it is, and in which state."""
_SIDES = ("top", "bottom", "left", "right")
_COLUMNS = ("codes", "pixels", "first_pixels", "confidence_sums", "touches_edge", "touches_nodata")


class TileLedger:
    """What is finished of one polygonisation.

    ::

        settings.json                what the tiles were made from: raster and options
        whole-<row>_<column>.arrow   features inside a tile; written last, so its presence says: finished
        seams-<row>_<column>.npz     what the sides of the tile look like
        pieces-<row>_<column>.arrow  geometries of the pieces at its seams
        joined-<row>_<column>.arrow  features across seams whose first pixel lies in the tile
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, settings: Mapping[str, object], *, restart: bool) -> None:
        """Take up the folder: go on where settings are equal, start where nothing fits.

        Tiles of another state of the raster are of no use to anybody and are removed.

        Raises
        ------
        OutputError
            When the folder holds tiles of other settings and ``restart`` is not asked for.
        """
        record = self.folder / "settings.json"
        if restart:
            self.remove()
        if record.is_file():
            found = json.loads(record.read_text())
            changed = sorted(key for key in settings if found.get(key) != settings[key])
            if not changed:
                return
            if not set(changed) & RASTER_KEYS:
                key = changed[0]
                msg = (
                    f"{self.folder} holds unfinished tiles of another request: {key} was {found.get(key)!r} "
                    f"and is now {settings[key]!r}; repeat that request, or start anew with --restart"
                )
                raise OutputError(msg)
        self.remove()
        with finished_file(record) as path:
            path.write_text(json_text(settings))

    def remove(self) -> None:
        """Forget everything."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def codes(self, step: str) -> Path:
        """Return the path of the codes that a step makes."""
        return self.folder / f"{step}.zarr"

    def has_step(self, step: str) -> bool:
        """Return True where the codes of a step are complete."""
        return (self.folder / f"{step}.finished").is_file()

    def finish_step(self, step: str) -> None:
        """Record that the codes of a step are complete."""
        with finished_file(self.folder / f"{step}.finished") as path:
            path.touch()

    def whole(self, tile: VectorTile) -> Path:
        """Return the path of the features inside a tile."""
        return self.folder / f"whole-{tile.name}.arrow"

    def joined(self, tile: VectorTile) -> Path:
        """Return the path of the joined features whose first pixel lies in a tile."""
        return self.folder / f"joined-{tile.name}.arrow"

    def pieces(self, tile: VectorTile) -> Path:
        """Return the path of the geometries at the seams of a tile."""
        return self.folder / f"pieces-{tile.name}.arrow"

    def finish_tile(
        self, tile: VectorTile, whole: pa.RecordBatch, pieces: pa.RecordBatch, seams: SeamPieces
    ) -> None:
        """Put the results of a tile into the ledger; the file of whole features comes last.

        Raises
        ------
        WriteFailedError
            When the disk is full or read-only.
        """
        try:
            write_part(self.pieces(tile), pieces)
            with finished_file(self._seams(tile)) as path, path.open("wb") as file:
                np.savez(file, allow_pickle=False, **_arrays(seams))
            write_part(self.whole(tile), whole)
        except OSError as error:
            raise write_failed(self.whole(tile), error) from error

    def finish_joined(self, tile: VectorTile, joined: pa.RecordBatch) -> None:
        """Put the joined features of a tile into the ledger.

        Raises
        ------
        WriteFailedError
            When the disk is full or read-only.
        """
        try:
            write_part(self.joined(tile), joined)
        except OSError as error:
            raise write_failed(self.joined(tile), error) from error

    def read_seams(self, tile: VectorTile) -> SeamPieces:
        """Return what a finished tile said of its sides."""
        with np.load(self._seams(tile)) as arrays:
            attributes = Attributes(*(arrays[name] for name in _COLUMNS))
            return SeamPieces(arrays["labels"], attributes, *(arrays[side] for side in _SIDES))

    def _seams(self, tile: VectorTile) -> Path:
        return self.folder / f"seams-{tile.name}.npz"


def _arrays(seams: SeamPieces) -> dict[str, Any]:
    columns = {name: getattr(seams.attributes, name) for name in _COLUMNS}
    return {"labels": seams.labels, **columns, **{side: getattr(seams, side) for side in _SIDES}}
