"""What lies where in a bucket that holds a result.

::

    URL/                                  results, as in a folder, once the run is whole
    URL/item.json                         written last: who sees it sees a whole result
    URL/.segment-tiles/complete.json      written just before it: what the request was, and the size of every object
    URL/.segment-tiles/lease.json         who writes here now: `pipeline.places.lease`
    URL/.segment-tiles/run.json           record of the run, as in a folder
    URL/.segment-tiles/rows/FINGERPRINT/  finished rows of shards, until the result is whole
    URL/.segment-tiles/files/FINGERPRINT/ what workers read that the client has, until then
"""

from __future__ import annotations

from typing import Final

from segment_tiles.workflows.output_folder.directory import MASK_FOLDER, OWN_FOLDER, RESULTS
from segment_tiles.workflows.results.item import ITEM

LEASE: Final = f"{OWN_FOLDER}/lease.json"
MARK: Final = f"{OWN_FOLDER}/complete.json"
ROWS: Final = f"{OWN_FOLDER}/rows"
FILES: Final = f"{OWN_FOLDER}/files"
LAST: Final = (MARK, ITEM)
"""What says that a result is whole: written last, in this order, and removed first."""
OWN_FOLDERS: Final = (OWN_FOLDER, f"{MASK_FOLDER}/{OWN_FOLDER}")
"""Books of the run, and of the run of its mask."""
RECORD: Final = "run.json"
"""Book of a run that is not whole, from which it is continued with its rows."""
RECORD_KEY: Final = f"{OWN_FOLDER}/{RECORD}"
SEALS_KEY: Final = f"{OWN_FOLDER}/store.json"
STORE: Final = "classes.zarr"
REPORT_KEY: Final = "report.json"
BOOKS: Final = (RECORD, "computed.json", "store.json", "made.json", "objects.json", "mask.json")
"""Books of a whole one."""


def is_published(key: str) -> bool:
    """Return whether a file of an output directory, by its path there, belongs to the result in the bucket."""
    folder, _, name = key.rpartition("/")
    for own in OWN_FOLDERS:
        if key.startswith(f"{own}/"):
            return folder == own and name in BOOKS
    return not any(part.startswith(".") for part in key.split("/"))


def is_of_work(key: str, fingerprint: str | None = None) -> bool:
    """Return whether an object is needed until the result is whole, and no longer; of one run, if one is named."""
    own = "" if fingerprint is None else f"{fingerprint}/"
    return key.startswith((f"{ROWS}/{own}", f"{FILES}/{own}"))


def is_made_by_runs(key: str) -> bool:
    """Return whether an object has a name that runs give; others in the same place are the user's."""
    top = key.partition("/")[0]
    if top in {OWN_FOLDER, MASK_FOLDER}:
        return key != LEASE and key not in LAST and not is_of_work(key)
    return top in RESULTS and key not in LAST
