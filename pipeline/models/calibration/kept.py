"""Which calibrated networks a run in int8 uses: those kept for its models, or those that it was begun with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from segment_tiles.pipeline.installed import cache_folder
from segment_tiles.pipeline.models.calibration.calibrated import (
    Calibrated,
    copy_path,
    kept_path,
    read_calibrated,
    required_calibrated,
)

if TYPE_CHECKING:
    from segment_tiles.pipeline.models.packages.manifest import ModelManifest


@dataclass(frozen=True, slots=True)
class Calibrations:
    """One calibrated network for each model of a run."""

    checksums: tuple[str, ...] = ()
    """In the order of the models; empty if one of them is not calibrated."""
    made: str = ""
    """The day of the first, as 2026-11-29."""
    tiles: int = 0
    """On so many the one with the fewest was calibrated; 0: not known."""

    def __bool__(self) -> bool:
        return bool(self.checksums)

    @property
    def name(self) -> str:
        """What stands for all of them."""
        return "+".join(self.checksums)


FEW_TILES: Final = 8
"""A network that was calibrated on fewer tiles is used with a warning."""
NOT_CALIBRATED: Final = Calibrations()
"""What a run has that needs none."""


def kept_calibrations(manifests: Sequence[ModelManifest], side: int) -> Calibrations:
    """Return those kept for models and a side of a tile in pixels."""
    return _of([read_calibrated(path_of(manifest, side)) for manifest in manifests])


def path_of(manifest: ModelManifest, side: int) -> Path:
    """Return where the calibrated network of a model is kept, for tiles of a side in pixels."""
    return kept_path(cache_folder(), manifest.calibration_checksum, side)


def _of(found: list[Calibrated | None]) -> Calibrations:
    there = [one for one in found if one is not None]
    if len(there) < len(found):
        return NOT_CALIBRATED
    described = [one.described for one in there]
    return Calibrations(
        tuple(one.checksum for one in there),
        str(described[0].get("made", "")),
        min(int(text.get("tiles", 0)) for text in described),
    )


def calibrated_for(manifest: ModelManifest, side: int, checksum: str, own_folder: Path | None) -> Calibrated:
    """Return the calibrated network of a model that a run was begun with.

    Parameters
    ----------
    manifest, side
        The model, and the side of a tile in pixels.
    checksum
        Of the calibrated network.
    own_folder
        Where the run keeps its books, if there is one yet; else that of the user alone is asked.

    Raises
    ------
    ModelError
        If it is in neither.
    """
    own = () if own_folder is None else (copy_path(own_folder, checksum),)
    return required_calibrated(checksum, (*own, path_of(manifest, side)))
