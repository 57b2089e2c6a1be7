"""One Region of some planes, as plain values that travel to any worker, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.grid.decision import Decision
from segment_tiles.pipeline.grid.reclass import Reclass
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.sent_folder import Send, SentFile
from segment_tiles.pipeline.outputs.stores.sent_rows import RowsAddress
from segment_tiles.pipeline.places.protocol import Traffic
from segment_tiles.pipeline.sources.areas.tissue import TissueMask
from segment_tiles.workflows.regions.loaded_model import ModelRequest
from segment_tiles.workflows.scenes.computed_area import AreaChecksums, sent_file
from segment_tiles.workflows.scenes.cut import Cut, FolderOpener
from segment_tiles.workflows.scenes.mask_area import MaskedClasses

Progress = Callable[[int, int], None]
"""Told of tiles computed and tiles skipped since the last call."""
SMALL_TILES: Final = 64
"""Tiles up to which a run shares the network with another one, and is done by one worker as a whole."""
IsStopped = Callable[[], bool]
"""Whether to stop when the row of shards in work is on disk."""


@dataclass(frozen=True, slots=True)
class RegionTask:
    """What a worker needs to know of a run, and the Region that it is to do."""

    cut: Cut
    """What is read, and where its tiles lie."""
    planes: tuple[int, int]
    """First plane of the result that is done, and the one after the last."""
    region: Window
    """What is to be done of each, in pixels of the result."""
    model: ModelRequest
    """What computes."""
    device_name: str
    """What the probe ran on: another kind of GPU gives other bytes."""
    blend: str
    """Name of the blend weight."""
    store: Path
    """Zarr store that exists."""
    ledger: Path
    """Folder of the ledger."""
    with_scores: bool
    """Whether scores are kept."""
    aoi: Path | SentFile | None = None
    """Vector file that limits what is computed."""
    tissue: TissueMask | Path | SentFile | None = None
    """Mask or vector file that limits it to tissue."""
    area_checksums: AreaChecksums = (None, None)
    """Of the files of AOI and tissue, when the run was begun."""
    mask: MaskedClasses | None = None
    """Finished map of another model that limits it."""
    decision: Decision | None = None
    """Thresholds by which classes are given; None: the highest score wins."""
    reclass: Reclass | None = None
    """What becomes of the classes before they are written; None: they stay."""
    is_composed: bool = False
    """Whether the scores are those of one of several Cuts, which will be composed into the result."""
    rows: RowsAddress | None = None
    """Where finished rows are sent, if the results of the run are not on a disk that all see."""
    metadata: tuple[tuple[str, bytes], ...] | None = None
    """Of the store, by path in it, for a worker that writes on a disk of its own; None: it sees the store."""

    @property
    def tiles(self) -> int:
        """How many there are, of all planes."""
        first, stop = self.planes
        return self.cut.tiles_of(self.region) * (stop - first)

    def sent(self, send: Send) -> RegionTask:
        """Return it for a worker that sees no folder of the client: what it reads there is sent, once."""
        opener, own, aoi, tissue = self.cut.opener, self.store.parent, self.aoi, self.tissue
        return replace(
            self,
            cut=replace(self.cut, opener=opener.sent(send)) if isinstance(opener, FolderOpener) else self.cut,
            model=self.model.sent(send, own),
            aoi=sent_file(aoi, "aoi", send, own) if isinstance(aoi, Path) else aoi,
            tissue=sent_file(tissue, "tissue", send, own) if isinstance(tissue, Path) else tissue,
            mask=None if self.mask is None else self.mask.sent(send),
        )


@dataclass(slots=True)
class RegionReport:
    """What became of a Region."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Busy time of each stage, and what the network waited for reading and writing."""
    computed: int = 0
    """Tiles that went through the network."""
    skipped: int = 0
    """Tiles without a pixel to compute."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    """Windows of the result that could not be done, each with the reason."""
    folded_batch_norms: int = 0
    """Batch norms that were folded into convolutions."""
    peak_bytes: int = 0
    """Highest resident set size of the process that did it."""
    traffic: Traffic = field(default_factory=Traffic)
    """What was asked of the place that rows are sent to, and files are brought from."""
