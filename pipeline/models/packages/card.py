"""What the package of a model says of itself, for people: scores on what it never saw, and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from segment_tiles.pipeline.models.packages.manifest import ModelManifest

TOGETHER: Final = "all held-out areas"
"""Name of the scores over all held-out areas, if there are several."""


def scores_of(manifest: ModelManifest) -> dict[str, Any]:
    """Return the scores that a training put into a package, those of single classes left out.

    Returns
    -------
    dict
        ``held_out`` over all areas held out of training, ``areas`` by area if there are several, ``left_out`` by
        scene that a training did without; each with ``mean_iou`` and, of classes with objects, ``object_f1`` by
        class. Empty if the package has none.
    """
    told = manifest.extra.get("scores")
    if not isinstance(told, Mapping):
        return {}
    areas = _all_scores(told.get("held out"))
    left_out = _all_scores(told.get("scene left out of training"))
    together = areas.pop(TOGETHER, None)
    if together is None and len(areas) == 1:
        together = areas.popitem()[1]
    found = {"held_out": together, "areas": areas, "left_out": left_out}
    return {name: scores for name, scores in found.items() if scores}


def limits_of(manifest: ModelManifest) -> list[str]:
    """Return what a model cannot do, as its package says it: the most important first."""
    told = manifest.extra.get("limits", [])
    return [str(limit) for limit in told] if isinstance(told, list | tuple) else []


def scores_text(scores: Mapping[str, Any]) -> str:
    """Return scores in a line: F1 of the objects if a model has some, else the mean IoU.

    >>> scores_text({"held_out": {"mean_iou": 0.77}, "left_out": {"a": {"mean_iou": 0.44}, "b": {"mean_iou": 0.48}}})
    'mean IoU 0.77 held out, 0.44 to 0.48 at a place left out'
    >>> areas = {"pale": {"object_f1": {"nucleus": 0.78}}, "dark": {"object_f1": {"nucleus": 0.86}}}
    >>> scores_text({"held_out": {"mean_iou": 0.657, "object_f1": {"nucleus": 0.85}}, "areas": areas})
    'F1 of nucleus 0.85 (0.78 to 0.86 by area) held out'
    """
    if "held_out" not in scores:
        return ""
    held_out = scores["held_out"]
    areas = scores.get("areas", {}).values()
    parts = []
    for name, f1 in held_out.get("object_f1", {}).items():
        by_area = [area["object_f1"][name] for area in areas if name in area.get("object_f1", {})]
        parts.append(f"F1 of {name} {f1:.2f}{_spread(by_area)}")
    if not parts:
        parts.append(f"mean IoU {held_out['mean_iou']:.2f}{_spread([area['mean_iou'] for area in areas])}")
    left_out = [entry["mean_iou"] for entry in scores.get("left_out", {}).values()]
    beside = f", {min(left_out):.2f} to {max(left_out):.2f} at a place left out" if left_out else ""
    return f"{'; '.join(parts)} held out{beside}"


def _spread(values: list[float]) -> str:
    return f" ({min(values):.2f} to {max(values):.2f} by area)" if values else ""


def _all_scores(told: object) -> dict[str, dict[str, Any]]:
    """Return scores by name; what has none, such as an area without labels, is not there."""
    if not isinstance(told, Mapping):
        return {}
    return {
        name: _scores(entry)
        for name, entry in told.items()
        if isinstance(entry, Mapping) and "mean_iou" in entry
    }


def _scores(entry: Mapping[str, Any]) -> dict[str, Any]:
    objects = {
        name: of_class["objects"]["f1"]
        for name, of_class in entry.items()
        if isinstance(of_class, Mapping) and "objects" in of_class
    }
    return {"mean_iou": entry["mean_iou"], **({"object_f1": objects} if objects else {})}
