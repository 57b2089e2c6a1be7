"""What a run is limited to: its AOI, the tissue of its slide, and what a mask leaves, as one area."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import AreaChangedError
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.sent_folder import Send, SentFile
from segment_tiles.pipeline.sources.areas.area_of_interest import Area, read_area_of_interest
from segment_tiles.pipeline.sources.areas.tissue import TissueArea, TissueMask
from segment_tiles.pipeline.sources.areas.vector_file import (
    content_checksum,
    files_of_vector_file,
    split_layer,
)
from segment_tiles.pipeline.sources.protocol import notes_of
from segment_tiles.workflows.scenes.mask_area import MaskedClasses

AreaChecksums = tuple[str | None, str | None]
"""Of the files of AOI and tissue when a run began; None: there is no file, or it is not compared."""


class SharedArea:
    """What several areas have in common."""

    def __init__(self, areas: Sequence[Area]) -> None:
        self._areas = areas
        self.notes = tuple(note for area in areas for note in notes_of(area))
        """What the user should know of their files."""

    def meets(self, window: Window) -> bool:
        """Return whether all meet a window."""
        return all(area.meets(window) for area in self._areas)

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window are in all: rows x columns."""
        shared = self._areas[0].mask(window)
        for area in self._areas[1:]:
            shared = shared & area.mask(window)
        return shared


def computed_area(
    aoi: Path | SentFile | None,
    tissue: TissueMask | Path | SentFile | None,
    spec: RasterSpec,
    checksums: AreaChecksums = (None, None),
    mask: MaskedClasses | None = None,
) -> Area | None:
    """Return what is computed of a raster; None: all of it.

    Parameters
    ----------
    aoi
        Vector file, here or sent here, or None.
    tissue
        Mask, or vector file, or None.
    spec
        Of the raster.
    checksums
        What the files must be: they are read for every part of a run, and one map is made of one AOI.
    mask
        Finished map of another model that limits it, or None.

    Raises
    ------
    UsageError
        If a file cannot be read or lies outside the raster.
    AreaChangedError
        If a file is another than when the run began.
    OutputError
        If the map of the mask is not there.
    PlaceError
        If a file was sent by a place that does not answer.
    """
    areas: list[Area] = []
    if aoi is not None:
        areas.append(_area_of_file(aoi, spec, "--aoi", checksums[0]))
    if isinstance(tissue, TissueMask):
        areas.append(TissueArea(tissue, spec.height, spec.width))
    elif tissue is not None:
        areas.append(_area_of_file(tissue, spec, "--tissue", checksums[1]))
    if mask is not None:
        areas.append(mask.open())
    if len(areas) > 1:
        return SharedArea(areas)
    return areas[0] if areas else None


def sent_file(file: Path, name: str, send: Send, own_folder: Path) -> SentFile:
    """Return a vector file for workers that do not see it; `own_folder` has the books of the run."""
    sent = send(name, own_folder, partial(files_of_vector_file, file))
    path, layer = split_layer(file)
    return SentFile(sent, path.name if layer is None else f"{path.name}:{layer}")


def _area_of_file(file: Path | SentFile, spec: RasterSpec, option: str, checksum: str | None) -> Area:
    path = file if isinstance(file, Path) else file.path()
    _require_same(path, option, checksum)
    area = read_area_of_interest(path, spec.georef, spec.window, option=option)
    _require_same(path, option, checksum)  # it may have changed while it was read
    return area


def _require_same(path: Path, option: str, checksum: str | None) -> None:
    if checksum is None:
        return
    try:
        now = content_checksum(path)
    except OSError:
        now = "not there"
    if now != checksum:
        msg = (
            f"{option} {path}: changed while the run used it (its sha256 was {checksum[:12]}, it is {now[:12]}); no "
            "map is made of two: put it back as it was, and the same command goes on, or give --restart to begin anew "
            "with what is there now"
        )
        raise AreaChangedError(msg)


def absolute_file(tissue: TissueMask | Path | None) -> TissueMask | Path | None:
    """Return a mask as it is and a file by its absolute path: workers may work in another folder."""
    return tissue.absolute() if isinstance(tissue, Path) else tissue
