"""The scores of objects as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = {
    "F1": "f1", "mean\nF1": "mean_f1", "prec.": "precision", "rec.": "recall", "PQ": "panoptic_quality",
    "AJI": "aggregated_jaccard", "Dice": "dice",
}  # fmt: skip
"""As many as fit on a line of 80 characters; all of them are in the JSON document."""
WORST = 5
"""Scenes that are shown, those with the lowest F1."""


def object_tables(document: Mapping[str, Any]) -> list[Table]:
    """Return a table of classes, and of many scenes a table of the worst."""
    table = _table("objects")
    means = document.get("mean_over_scenes", {})
    for name, scores in document["classes"].items():
        _add(table, name, scores)
        if name in means:
            table.add_row(
                f"mean of {means[name]['scenes']}",
                "",
                "",
                *(_text(means[name].get(key)) for key in COLUMNS.values()),
            )
    tables = [table]
    for name in means:
        scenes = [(scene, of_class[name]) for scene, of_class in document["scenes"].items()]
        scored = [(scene, scores) for scene, scores in scenes if scores["f1"] is not None]
        worst = _table(f"{name}: scenes with the lowest F1")
        for scene, scores in sorted(scored, key=lambda entry: entry[1]["f1"])[:WORST]:
            _add(worst, scene, scores)
        tables.append(worst)
    return tables


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True, min_width=14)
    for name in ("true", "map", *COLUMNS):
        table.add_column(name, justify="right")
    return table


def _add(table: Table, name: str, scores: Mapping[str, Any]) -> None:
    counts = (f"{scores['true_objects']:,}", f"{scores['mapped_objects']:,}")
    table.add_row(name, *counts, *(_text(scores[key]) for key in COLUMNS.values()))


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
