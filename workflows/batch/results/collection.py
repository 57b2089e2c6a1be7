"""The STAC collection of a batch: its finished results as items, its table of jobs as assets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pystac

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.errors import OutputError, PlaceError, one_line
from segment_tiles.pipeline.models.packages.stac_fields import stac_text
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.outputs.stac_item import read_item
from segment_tiles.workflows.batch.outcome import JobOutcome
from segment_tiles.workflows.batch.results.table import CSV, PARQUET
from segment_tiles.workflows.buckets.address import address_of, said_of, shown_out
from segment_tiles.workflows.buckets.copies import part_here
from segment_tiles.workflows.buckets.scratch import scratch_folder

COLLECTION = "collection.json"
"""Name of the file in the results folder."""
ITEM = "item.json"
"""Name of a result's item in its output directory."""
TABLES: Final = (
    ("jobs-parquet", PARQUET, "application/vnd.apache.parquet"),
    ("jobs-csv", CSV, "text/csv"),
)
"""Key, file and media type of the assets."""
_AT_ONCE: Final = 8
"""Items that are read at the same time."""
_WORLD = [-180.0, -90.0, 180.0, 90.0]


def write_collection(
    folder: Path, title: str, outcomes: Sequence[JobOutcome], layers: Mapping[Path, Path], results: Path
) -> list[str]:
    """Write the collection; its links lead to the ``item.json`` of every finished job.

    Parameters
    ----------
    folder
        Into which it is written.
    title
        What the jobs are of.
    outcomes
        What became of them.
    layers
        Files over all scenes, as they are on this disk and as the user named them.
    results
        Where the folder is for others: itself, or its URL.

    Returns
    -------
    list of str
        What the user should know: items that cannot be read are left out.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    items, notes = _items([outcome for outcome in outcomes if outcome.state in {"done", "skipped"}])
    target = folder.resolve() / COLLECTION
    collection = pystac.Collection(
        id=folder.resolve().name,
        description=f"Class maps of the jobs in {title}, made by segment-tiles.",
        extent=_extent([item for _, item in items]),
        license="other",
        href=str(target),
    )
    collection.remove_links(pystac.RelType.ROOT)
    collection.add_link(pystac.Link(pystac.RelType.ROOT, f"./{COLLECTION}", media_type=pystac.MediaType.JSON))
    for outcome, item in items:
        collection.add_link(_link(outcome, item, None if address_of(results) else target))
    for key, name, kind in TABLES:
        collection.add_asset(
            key, pystac.Asset(f"./{name}", title="Table of jobs", media_type=kind, roles=["metadata"])
        )
    for here, layer in layers.items():
        if here.exists():
            collection.add_asset(here.stem, _layer_asset(layer, results))
    with finished_file(target) as path:
        path.write_text(stac_text(collection), encoding="utf-8")
    return notes


def _layer_asset(layer: Path, results: Path) -> pystac.Asset:
    """Return the asset of a layer over all scenes."""
    types = {".parquet": "application/vnd.apache.parquet", ".gpkg": "application/geopackage+sqlite3"}
    is_inside = layer.is_relative_to(results)
    href = f"./{layer.relative_to(results).as_posix()}" if is_inside else shown_out(layer)
    return pystac.Asset(
        href, title="Layer over all scenes", media_type=types.get(layer.suffix.lower(), "application/geo+json"),
        roles=["data"],
    )  # fmt: skip


def _link(outcome: JobOutcome, item: pystac.Item, target: Path | None) -> pystac.Link:
    """Return the link to the item of a job: relative to the collection, but to a URL, and from one."""
    out = outcome.job.config.out
    href = f"{shown_out(out)}/{ITEM}"
    if target is not None:
        href = pystac.utils.make_relative_href(href, str(target))
    elif address_of(out) is None:
        href = (out.absolute() / ITEM).as_uri()
    return pystac.Link(
        pystac.RelType.ITEM,
        href,
        media_type=pystac.MediaType.GEOJSON,
        title=outcome.job.name,
        extra_fields={"id": item.id},
    )


def _items(finished: Sequence[JobOutcome]) -> tuple[list[tuple[JobOutcome, pystac.Item]], list[str]]:
    """Return the jobs whose items can be read, with these, and a note for each that has one which cannot."""
    with scratch_folder() as scratch, ContextPool(_AT_ONCE, thread_name_prefix="items") as pool:
        folders = [scratch / str(number) for number in range(len(finished))]
        found = list(pool.map(_item, finished, folders))
    items = [
        (outcome, item)
        for outcome, item in zip(finished, found, strict=True)
        if isinstance(item, pystac.Item)
    ]
    return items, [note for note in found if isinstance(note, str)]


def _item(outcome: JobOutcome, scratch: Path) -> pystac.Item | str | None:
    """Return the item of a job; None if it has none, and what is wrong with one that cannot be read."""
    out = outcome.job.config.out
    try:
        with said_of(shown_out(out), scratch):
            path = part_here(out, scratch, ITEM.__eq__) / ITEM
            # the map of a volume has no position on Earth, and so no item
            return read_item(path) if path.exists() else None
    except (OutputError, PlaceError) as error:
        return f"{COLLECTION} goes without {outcome.job.name}: {one_line(error)}"


def _extent(items: Sequence[pystac.Item]) -> pystac.Extent:
    """Return where and when the items lie; the whole world if none has a position on it."""
    boxes = [item.bbox for item in items if item.bbox is not None] or [_WORLD]
    west, east = _longitudes([(box[0], box[2]) for box in boxes])
    whole = [west, min(box[1] for box in boxes), east, max(box[3] for box in boxes)]
    moments = [
        moment
        for item in items
        for moment in (item.datetime, item.common_metadata.start_datetime, item.common_metadata.end_datetime)
        if moment is not None
    ]
    now = datetime.now(UTC)
    first, last = min(moments, default=now), max(moments, default=now)
    return pystac.Extent(pystac.SpatialExtent([whole]), pystac.TemporalExtent([[first, last]]))


def _longitudes(arcs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the shortest arc of the globe around arcs from west to east.

    West is greater than east if an arc crosses 180 degrees (RFC 7946, section 5.2), in the arcs and in the result.

    >>> _longitudes([(179.0, -179.0), (-178.0, -177.0)])
    (179.0, -177.0)
    >>> _longitudes([(-5.0, 2.0), (170.0, 175.0)])
    (-5.0, 175.0)
    """
    # the widest gap between arcs is what stays outside; round the globe, so that the first arc follows the last
    ordered = sorted((west, east + 360 * (east < west)) for west, east in arcs)
    reached, gaps = ordered[0][1], []
    for west, east in [*ordered[1:], (ordered[0][0] + 360, 0.0)]:
        gaps.append((west - reached, reached, west))
        reached = max(reached, east)
    width, east, west = max(gaps)
    if width <= 0:
        return -180.0, 180.0
    return west - 360 * (west >= 180), east - 360 * (east > 180)
