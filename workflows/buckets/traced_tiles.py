"""Vector tiles that workers have traced, as objects of a result that is in work."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from segment_tiles.pipeline.installed import installed_version
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.outputs.stores.packed_files import fetch_packed
from segment_tiles.workflows.buckets.result import BucketResult
from segment_tiles.workflows.polygons.ahead import TracingRequest
from segment_tiles.workflows.regions.own_disk import read_metadata
from segment_tiles.workflows.regions.strips import SentStrip, Strip


class TracedTiles:
    """Objects with vector tiles of one class map, traced in one way by one version of this program.

    Parameters
    ----------
    result
        That they belong to.
    request
        How they are traced, with the folders of this machine.
    """

    def __init__(self, result: BucketResult, request: TracingRequest) -> None:
        self._result, self._request = result, request
        self._rows = result.work.rows_of(request.raster, request.rows)
        way = json_text([request.options_as_values(), installed_version("segment-tiles")], indent=None)
        # beside the rows: what removes those of a run that has ended removes its tiles
        own = self._rows.prefix.rpartition("/")[0]
        self._prefix = f"{own}/tiles-{hashlib.sha256(way.encode()).hexdigest()[:16]}"

    def missing(self, strips: Sequence[Strip]) -> list[Strip]:
        """Return the strips that nobody has traced, as workers need them that see no folder of this machine."""
        there = set(self._result.place.list(self._prefix))
        metadata = read_metadata(self._request.raster)
        sent = [
            replace(strip, sent=SentStrip(self._rows, metadata, f"{self._prefix}/{strip.name}.zip"))
            for strip in strips
        ]
        return [strip for strip in sent if strip.sent is not None and strip.sent.key not in there]

    def fetch(self) -> None:
        """Bring all tiles here; what is damaged is removed, and traced by whoever needs it."""
        place = self._result.place
        fetch_packed(place, place.list(self._prefix), self._request.tiles.parent)
