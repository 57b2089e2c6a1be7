"""The scores of a class map as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def evaluation_tables(document: Mapping[str, Any]) -> list[Table]:
    """Return a table of classes and a table of the whole map."""
    return [_class_table(document), _summary_table(document)]


def _class_table(document: Mapping[str, Any]) -> Table:
    from rich import box
    from rich.table import Table

    widths = list(document["boundary_iou"])
    table = Table(title=f"{document['pixels']:,} pixels", box=box.SIMPLE_HEAD)
    table.add_column("class")
    for name in ("IoU", "Dice", "precision", "recall", *(f"boundary\nIoU {w} px" for w in widths)):
        table.add_column(name, justify="right")
    for name, scores in document["classes"].items():
        numbers = [scores[key] for key in ("iou", "dice", "precision", "recall")]
        numbers += [scores["boundary_iou"][width] for width in widths]
        table.add_row(name, *map(_text, numbers))
    return table


def _summary_table(document: Mapping[str, Any]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title="whole map", box=box.SIMPLE_HEAD)
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_row("mean IoU", _text(document["mean_iou"]))
    table.add_row("accuracy", _text(document["accuracy"]))
    for width, value in document["boundary_iou"].items():
        table.add_row(f"boundary IoU, {width} px", _text(value))
    for width, value in document["trimap_mean_iou"].items():
        table.add_row(f"trimap mean IoU, {width} px", _text(value))
    table.add_row("calibration error", _text(document["calibration_error"]))
    table.add_row("true pixels without a class in the map", f"{document['truth_without_class']:,}")
    return table


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
