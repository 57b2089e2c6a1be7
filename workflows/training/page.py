"""The page of a training: its scores, curves, confusion and the worst of what was held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.durable import write_whole
from segment_tiles.pipeline.learning.evaluation_pictures import save_confusion
from segment_tiles.pipeline.learning.pictures import save_samples
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.training.final_scores import FinalScores

PAGE_FILE: Final = "training.html"
STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right}td:first-child,td:nth-child(2)"
    "{text-align:left}tr{border-bottom:1px solid #ddd}img{max-width:100%}"
)
SHOWN: Final = (("IoU", "iou"), ("Dice", "dice"), ("precision", "precision"), ("recall", "recall"))


def save_page(
    out: Path, name: str, history: Sequence[Mapping[str, float]], found: FinalScores, segmenter: Segmenter
) -> None:
    """Write ``training.html`` into the folder of a training, and the pictures that it shows beside those there."""
    save_confusion(out / "confusion.png", found.total, segmenter.classes.names)
    if found.worst:
        save_samples(out / "worst.png", [area for _, area in found.worst], segmenter)
    steps = [row for row in history if "loss" in row]
    lines = [
        "<!doctype html>",
        f'<html lang="en"><meta charset="utf-8"><title>{escape(name)}</title><style>{STYLE}</style>',
        f"<h1>{escape(name)}</h1>",
        f"<p>{counted(len(steps), 'step')}; mean IoU of all that was held out {found.total.mean_iou:.3f}.</p>",
        *_table(found.told),
        *(f"<p>{escape(note)}</p>" for note in found.notes),
        "<h2>Curves</h2><img src='curve.png' alt='Loss of the training and scores of held-out areas over the steps'>",
        "<h2>Confusion</h2><img src='confusion.png' alt='Shares of each true class over the mapped classes'>",
        "<h2>Samples</h2><img src='samples.png' alt='Held-out pictures, their labels and their maps'>",
        *_worst(found),
        "</html>",
    ]
    write_whole(out / PAGE_FILE, "\n".join(lines) + "\n")


def _table(told: Mapping[str, Any]) -> Iterator[str]:
    has_objects = any(
        "objects" in of for scores in told.values() for of in scores.values() if isinstance(of, Mapping)
    )
    heads = ["area", "class", *(head for head, _ in SHOWN), *(("object F1",) if has_objects else ())]
    yield "<table><tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"
    for area, scores in told.items():
        for name, of_class in scores.items():
            if isinstance(of_class, Mapping):
                numbers = [of_class[key] for _, key in SHOWN]
                if has_objects:
                    numbers.append(of_class.get("objects", {}).get("f1"))
                cells = "".join(f"<td>{'-' if n is None else f'{n:.3f}'}</td>" for n in numbers)
                yield f"<tr><td>{escape(area)}</td><td>{escape(name)}</td>{cells}</tr>"
    yield "</table>"


def _worst(found: FinalScores) -> Iterator[str]:
    if not found.worst:
        return
    yield "<h2>The worst of what was held out</h2><table><tr><th>area</th><th>mean IoU</th></tr>"
    for score, area in found.worst:
        yield f"<tr><td>{escape(area.name)}</td><td>{score:.3f}</td></tr>"
    yield "</table><img src='worst.png' alt='Pictures, labels and maps of the areas with the lowest mean IoU'>"
