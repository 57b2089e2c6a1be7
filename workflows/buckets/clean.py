"""What unfinished runs left at a URL: named, and removed on request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.places.lease import acquire
from segment_tiles.pipeline.places.protocol import RESULT_SECONDS
from segment_tiles.workflows.buckets.address import address_of
from segment_tiles.workflows.buckets.layout import LAST, LEASE, is_made_by_runs, is_of_work
from segment_tiles.workflows.buckets.result import BucketResult


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Objects that are of no whole result."""

    address: str
    objects: dict[str, int]
    """Key below the address -> bytes."""
    is_removed: bool
    """Whether they are gone now."""

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(self.objects.values())


def clean(out: Path, tell: Callable[[str], None], *, removes: bool) -> Leftovers:
    """Find what unfinished runs left at a URL; a whole result stays.

    Parameters
    ----------
    out
        The ``--out`` of the run.
    tell
        Told in one line if another process has to be waited for.
    removes
        Remove it; else nothing is written but the lease, while it is looked.

    Raises
    ------
    UsageError
        If it is no URL.
    OutputError
        If a run is at work there, or other objects than those of runs are.
    PlaceError
        If the place does not answer.
    """
    address = address_of(out)
    if address is None or address.startswith("file:"):
        msg = (
            f"{out}: is no URL of a bucket; in a folder, --restart begins anew, and the folder may be deleted"
        )
        raise UsageError(msg)
    place = place_at(address, RESULT_SECONDS)
    if not place.list():
        return Leftovers(address, {}, removes)
    BucketResult(address, place, Path(), None)  # refuses objects of others, before a lease lies among them
    with acquire(place, LEASE, tell):
        result = BucketResult(address, place, Path(), None)
        mark, sizes = result.mark(), place.sizes()
        kept = set() if mark is None else {*mark["objects"], *LAST}
        left = {key: size for key, size in sizes.items() if key not in kept and _is_left(key)}
        if removes:
            place.delete_all(left)
    if mark is None and removes:
        place.delete(LEASE)
    return Leftovers(address, left, removes)


def _is_left(key: str) -> bool:
    """Return whether a run writes such an object; those of users stay."""
    return is_of_work(key) or key in LAST or is_made_by_runs(key)
