"""Ledger of finished vector tiles: their part files, in a folder beside the output."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from segment_tiles.pipeline.durable import make_folder, remove, remove_leftovers, write_whole
from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.outputs.finished_file import write_failed
from segment_tiles.pipeline.outputs.stores.seals import (
    as_plain,
    from_plain,
    is_tree_kept,
    read_sealed,
    seal_of,
    seals_of_tree,
    write_sealed,
)
from segment_tiles.pipeline.vectors.files.parts import write_part
from segment_tiles.pipeline.vectors.geometry.attributes import Attributes
from segment_tiles.pipeline.vectors.geometry.objects.attributes import ObjectAttributes
from segment_tiles.pipeline.vectors.geometry.objects.values import Values
from segment_tiles.pipeline.vectors.geometry.pieces import SeamPieces
from segment_tiles.pipeline.vectors.tiling import VectorTile

OF_THE_LOCK = {"lock", "holder.json"}
"""Files by which the process that works here keeps others out; it removes them itself."""
RASTER_KEYS = {"raster", "raster_version", "measure_version"}
"""Settings that say which raster it is, and in which state."""
_SIDES = ("top", "bottom", "left", "right")
_CONTACTS = ("contact_pieces", "contact_identities")


class TileLedger:
    """What is finished of one polygonisation.

    ::

        settings.json                what the tiles were made from: raster and options
        whole-<row>_<column>.arrow   features inside a tile
        seams-<row>_<column>.npz     what the sides of the tile look like
        pieces-<row>_<column>.arrow  geometries of the pieces at its seams
        values-<row>_<column>.npz    values of another raster under these, if they are measured
        tile-<row>_<column>.json     says, when all of these are written, what each must be
        joined-<row>_<column>.arrow  features across seams whose first pixel lies in the tile
        joined-<row>_<column>.json   says the same of these
        sieve.zarr, sieve.json       codes that a step changed; the same of its chunks
        sheaths.npy                  pixels of the sheaths of objects, which objects.json knows too

    None of these waits for the disk: a tile is reused if each of its files has the checksum that it was
    written with, and is done again if not. So a power cut costs the tiles of some seconds, and no feature.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, settings: Mapping[str, object], *, restart: bool) -> None:
        """Take up the folder: go on if the settings are equal, else start again.

        Tiles of another state of the raster are useless and are removed.

        Raises
        ------
        OutputError
            When the folder holds tiles of other settings and ``restart`` is not asked for.
        """
        record = self.folder / "settings.json"
        if restart:
            self.remove()
        if record.is_file():
            found = read_sealed(record)
            if found is None:  # damaged: the origin of the tiles is unknown
                found = dict.fromkeys(RASTER_KEYS)
            changed = sorted(key for key in settings if found.get(key) != settings[key])
            if not changed:
                remove_leftovers(self.folder)
                return
            if not set(changed) & RASTER_KEYS:
                key = changed[0]
                msg = (
                    f"{self.folder} holds unfinished tiles of another request: {key} was {found.get(key)!r} "
                    f"and is now {settings[key]!r}; repeat that request, or start anew with --restart"
                )
                raise OutputError(msg)
        self.remove()
        try:
            make_folder(self.folder)
            write_sealed(record, settings)
        except OSError as error:
            raise write_failed(record, error) from error

    def adopt(self, folder: Path) -> None:
        """Take over the finished tiles of another folder, which were made of the same raster by the same options."""
        for record in folder.glob("tile-*.json"):
            found = read_sealed(record)
            if found is not None:
                for name in (*found["files"], record.name):
                    (folder / name).replace(self.folder / name)

    def remove(self) -> None:
        """Forget everything but the lock; the settings first, since the rest is ignored without them."""
        (self.folder / "settings.json").unlink(missing_ok=True)
        if self.folder.is_dir():
            for entry in self.folder.iterdir():
                if entry.name not in OF_THE_LOCK:
                    remove(entry)

    def codes(self, step: str) -> Path:
        """Return the path of the codes that a step makes."""
        return self.folder / f"{step}.zarr"

    @property
    def sheaths(self) -> Path:
        """Path of the pixels of the sheaths of objects."""
        return self.folder / "sheaths.npy"

    def has_step(self, step: str) -> bool:
        """Return True if the codes of a step are complete, and every chunk is what was written."""
        return self._is_kept(step)

    def counts(self, step: str) -> list[int]:
        """Return what was counted while the codes of a step were made."""
        found = read_sealed(self.folder / f"{step}.json")
        return [] if found is None else list(found.get("counts", []))

    def finish_step(self, step: str, counts: Sequence[int] = (), beside: Sequence[Path] = ()) -> None:
        """Record that the codes of a step, and files beside them, are complete, and what was counted."""
        codes = self.codes(step)
        try:
            files = {f"{codes.name}/{name}": seal for name, seal in seals_of_tree(codes).items()}
            files |= {path.name: seal_of(path) for path in beside}
            record: dict[str, Any] = {"files": as_plain(files)}
            record |= {"counts": list(counts)} if counts else {}
            write_sealed(self.folder / f"{step}.json", record, waits=False)
        except OSError as error:
            raise write_failed(codes, error) from error

    def has_tile(self, tile: VectorTile) -> bool:
        """Return True if a tile is traced, and its files are what was written."""
        return self._is_kept(f"tile-{tile.name}")

    def has_joined(self, tile: VectorTile) -> bool:
        """Return True if the joined features of a tile are there as they were written."""
        return self._is_kept(f"joined-{tile.name}")

    def _is_kept(self, name: str) -> bool:
        found = read_sealed(self.folder / f"{name}.json")
        return found is not None and is_tree_kept(self.folder, from_plain(found["files"]))

    def _seal(self, name: str, *paths: Path) -> None:
        files = {path.name: seal_of(path) for path in paths}
        write_sealed(self.folder / f"{name}.json", {"files": as_plain(files)}, waits=False)

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
        self,
        tile: VectorTile,
        whole: pa.RecordBatch,
        pieces: pa.RecordBatch,
        seams: SeamPieces,
        values: Sequence[Values] = (),
    ) -> None:
        """Put the results of a tile into the ledger; what says that they are there comes last.

        Raises
        ------
        WriteFailedError
            When the disk is full or read-only.
        """
        try:
            write_part(self.pieces(tile), pieces)
            write_whole(self._seams(tile), _bytes_of(_arrays(seams)), waits=False)
            write_part(self.whole(tile), whole)
            files = [self.whole(tile), self._seams(tile), self.pieces(tile)]
            if values:
                write_whole(self._values(tile), _bytes_of(_value_arrays(values)), waits=False)
                files.append(self._values(tile))
            self._seal(f"tile-{tile.name}", *files)
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
            self._seal(f"joined-{tile.name}", self.joined(tile))
        except OSError as error:
            raise write_failed(self.joined(tile), error) from error

    def read_seams(self, tile: VectorTile) -> SeamPieces:
        """Return what a finished tile said of its sides."""
        with np.load(self._seams(tile)) as arrays:
            kind = ObjectAttributes if "identities" in arrays else Attributes
            attributes = kind(**{name: arrays[name] for name in _columns(kind)})
            contacts = {name: arrays[name] for name in _CONTACTS if name in arrays}
            return SeamPieces(arrays["labels"], attributes, *(arrays[side] for side in _SIDES), **contacts)

    def read_values(self, tile: VectorTile) -> list[Values]:
        """Return the values of each band under the pieces at the seams of a finished tile, by their labels less 1."""
        with np.load(self._values(tile)) as arrays:
            bands = len(arrays.files) // 2
            return [Values(arrays[f"owners{n}"], arrays[f"values{n}"]) for n in range(bands)]

    def _values(self, tile: VectorTile) -> Path:
        return self.folder / f"values-{tile.name}.npz"

    def _seams(self, tile: VectorTile) -> Path:
        return self.folder / f"seams-{tile.name}.npz"


def _arrays(seams: SeamPieces) -> dict[str, Any]:
    kind = type(seams.attributes)
    columns = {name: getattr(seams.attributes, name) for name in _columns(kind)}
    names = (*_SIDES, *_CONTACTS) if kind is ObjectAttributes else _SIDES
    return {"labels": seams.labels, **columns, **{name: getattr(seams, name) for name in names}}


def _value_arrays(bands: Sequence[Values]) -> dict[str, Any]:
    owners = {f"owners{n}": band.owners for n, band in enumerate(bands)}
    return owners | {f"values{n}": band.values for n, band in enumerate(bands)}


def _bytes_of(arrays: Mapping[str, Any]) -> bytes:
    found = io.BytesIO()
    np.savez(found, allow_pickle=False, **arrays)
    return found.getvalue()


def _columns(kind: type[Attributes]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
