"""Formats of a finished class map whose classes are given anew, by thresholds, from the scores that its run kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.decision import Decision
from segment_tiles.pipeline.grid.objects import rules_json, rules_of_json
from segment_tiles.pipeline.outputs.stores.store import array_of, read_class_table, read_score_names
from segment_tiles.workflows.results.formats.changed_store import ChangedMasks, changed_store


@dataclass(frozen=True, slots=True)
class Decided:
    """How the classes of a finished map were given anew, and what came of it."""

    decision: Decision
    table: ClassTable
    """Classes then."""
    counts: tuple[int, ...]
    """Pixels of each, in the order of codes."""

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "thresholds": [list(pair) for pair in self.decision.thresholds],
            "unsure": self.decision.unsure,
            "classes": [[entry.code, entry.name, list(entry.color)] for entry in self.table.classes],
            "counts": list(self.counts),
            **({"multi_label": True} if self.decision.multi_label else {}),
            **({"objects": rules_json(self.table.objects)} if self.table.objects else {}),
        }

    @classmethod
    def from_plain(cls, fields: Mapping[str, Any]) -> Decided:
        """Return it from plain JSON values."""
        classes = tuple(MapClass(code, name, (c[0], c[1], c[2])) for code, name, c in fields["classes"])
        thresholds = tuple((int(code), int(byte)) for code, byte in fields["thresholds"])
        decision = Decision(thresholds, fields["unsure"], bool(fields.get("multi_label")))
        table = ClassTable(classes, rules_of_json(fields.get("objects", {})))
        return cls(decision, table, tuple(fields["counts"]))

    def report(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Return the report of the run with these classes; of their sizes pixels, or voxels, alone."""
        sizes = "voxels" if "voxels" in report["nodata"] else "pixels"
        classes = [
            {"code": entry.code, "name": entry.name, sizes: count}
            for entry, count in zip(self.table.classes, self.counts, strict=True)
        ]
        return {**report, "classes": classes}


def classes_of_scores(group: zarr.Group) -> ClassTable:
    """Return the classes of the model whose scores a store has; of a run without a reclass.

    Raises
    ------
    UsageError
        If it has none.
    """
    if "scores" not in group:
        msg = (
            "--threshold and --unsure need the probabilities of all classes, which a run keeps only with --scores; "
            "run again with --scores --restart, or with the thresholds themselves"
        )
        raise UsageError(msg)
    table = read_class_table(group)
    return ClassTable(table.classes[: len(read_score_names(group))], table.objects)


def refuse_reclassed(settings: Mapping[str, Any]) -> None:
    """Refuse a run whose record has a reclass: its store has the classes after it, and no longer those of the scores.

    Names do not tell: a reclass may have given the same names other codes.

    Raises
    ------
    UsageError
        If it has one.
    """
    if settings.get("--reclass") is not None:
        msg = (
            "--threshold and --unsure: the classes of this run were changed by its --reclass; run again with both, or "
            "export with --reclass from a run without"
        )
        raise UsageError(msg)


@contextmanager
def decided_store(own: Path, group: zarr.Group, decision: Decision) -> Iterator[tuple[zarr.Group, Decided]]:
    """Give a store with the classes and the confidence that thresholds give; it is removed at the end.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    import torch  # noqa: PLC0415 - slow, and an export without thresholds does without it

    from segment_tiles.pipeline.inference.decide import decided  # noqa: PLC0415

    before, table = read_class_table(group).nodata, decision.table(classes_of_scores(group))
    classes, scores = array_of(group, "classes"), array_of(group, "scores")
    counts = np.zeros(table.nodata + 1, dtype=np.int64)

    def change(index: tuple[Any, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
        has_none = np.asarray(classes[index]) == before
        codes, confidence = decided(torch.from_numpy(np.asarray(scores[(slice(None), *index)])), decision)
        given = np.where(has_none, table.nodata, codes.numpy()).astype(table.dtype)
        counts[:] += np.bincount(given.ravel(), minlength=len(counts))
        return given, np.where(has_none, np.uint8(0), confidence.numpy())

    def planes(index: tuple[Any, ...]) -> NDArray[np.uint8]:
        # at nodata every score is 0, which reaches no threshold
        return decision.masks(np.asarray(scores[(slice(None), *index)]))

    masks = ChangedMasks(table.codes, planes) if decision.multi_label else None
    with changed_store(own, "decided", group, table, change, masks) as made:
        yield made, Decided(decision, table, tuple(int(counts[code]) for code in table.codes))
